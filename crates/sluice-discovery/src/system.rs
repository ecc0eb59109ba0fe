//! The DNS servers and files of this host.

use std::path::PathBuf;
use std::sync::Arc;

use sluice_core::model::Lookup;

use crate::dns::Dns;
use crate::files::Files;
use crate::reply::Ask;

/// Asks DNS servers and reads files.
pub(crate) fn ask(resolv_conf: PathBuf, files: Files) -> Ask {
    let dns = Arc::new(Dns::new(resolv_conf));
    Arc::new(move |resolver, lookup| {
        let (dns, files) = (dns.clone(), files.clone());
        Box::pin(async move {
            match lookup {
                Lookup::Host(name, ip) => dns.host(&resolver, &name, ip).await,
                Lookup::Srv(name, ip) => dns.srv(&resolver, &name, ip).await,
                Lookup::Files(pattern) => files.ask(pattern).await,
            }
        })
    })
}
