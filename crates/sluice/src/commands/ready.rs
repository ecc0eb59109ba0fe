//! `sluice ready`: whether this node can be given the traffic of services.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sluice_api::{ClientError, ReadyQuery, ReadyReply, ServiceReadiness};
use sluiced::fatal::Fatal;

use crate::options::Common;
use crate::text::{safe, time};
use crate::{daemon, output};

/// Tell whether services are ready: in sync, and with their quorum
///
/// For programs that give this node traffic or take it away: vrrp_script of keepalived, ExaBGP, load balancers above.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReadyCommand {
    /// Only these services; all enabled ones by default
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,

    /// Maximum time to wait for sluiced, such as 2s; a daemon that does not respond is not ready
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "15s")]
    timeout: Duration,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice ready
  sluice ready web dns
  sluice ready --timeout 2s web || echo 'web is not ready'
  sluice ready --json | jq -r '.services[] | select(.ready | not) | .name'

Prints one line with the reason per service that is not ready, and nothing if all are. A service is ready if it is enabled, the \
kernel is in sync, and its quorum is met or backups serve. Without sluiced no service is.

JSON: { \"ready\": bool, \"not_ready\": line or null, \"services\": [{ \"name\": name, \"ready\": bool, \"not_ready\": line or null }] }

Exit codes: 0 all are ready, 3 one is not, 1 a service does not exist.";

impl ReadyCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let socket = common.socket()?;
        let services = (!self.services.is_empty()).then(|| self.services.join(","));
        let query = ReadyQuery { services };
        let asked =
            daemon::try_ask("ready", &socket, async |client| client.ready(&query, self.timeout).await)?;
        let reply = match asked {
            Ok(reply) => reply,
            Err(error @ ClientError::Refused(_)) => return Err(daemon::no_answer(error)),
            // Without an answer no service is known to be ready.
            Err(error) => {
                ReadyReply { not_ready: Some(daemon::no_answer(error).to_string()), ..ReadyReply::default() }
            }
        };
        match self.json {
            true => output::print_json(&reply)?,
            false => output::print(&text(&reply))?,
        }
        Ok(ExitCode::from(if reply.ready { 0 } else { 3 }))
    }
}

/// Why services are not ready, one line each.
fn text(ReadyReply { not_ready, services, .. }: &ReadyReply) -> String {
    let own = |service: &ServiceReadiness| {
        let why = service.not_ready.as_ref()?;
        Some(format!("{}: {}\n", service.name, safe(why)))
    };
    let all = not_ready.iter().map(|why| format!("{}\n", safe(why)));
    all.chain(services.iter().filter_map(own)).collect()
}

/// Replies with everything in them.
#[cfg(test)]
pub(crate) fn examples() -> Vec<serde_json::Value> {
    let service = |not_ready: Option<&str>| ServiceReadiness {
        name: "web".into(),
        ready: not_ready.is_none(),
        not_ready: not_ready.map(Into::into),
    };
    let all = ReadyReply { ready: true, not_ready: None, services: vec![service(None)] };
    let some = ReadyReply { ready: false, services: vec![service(Some("disabled"))], ..all.clone() };
    let none = ReadyReply { not_ready: Some("no service is enabled".into()), ..ReadyReply::default() };
    [all, some, none].map(|reply| serde_json::to_value(reply).unwrap()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_a_line_per_service_that_is_not_ready() {
        let service = |name: &str, why: Option<&str>| ServiceReadiness {
            name: name.into(),
            ready: why.is_none(),
            not_ready: why.map(Into::into),
        };
        let services = vec![service("a", None), service("b", Some("x\u{1b}[31m")), service("c", Some("y"))];
        let reply = ReadyReply { ready: false, not_ready: None, services };
        assert_eq!(text(&reply), "b: x\\u{1b}[31m\nc: y\n");
        assert_eq!(text(&ReadyReply { ready: true, ..ReadyReply::default() }), "");
    }
}
