//! `sluice connections`: live connections.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use sluice_api::{Connection, ConnectionsQuery};
use sluiced::fatal::Fatal;

use crate::options::Common;
use crate::text::{bytes, duration, grouped, safe};
use crate::{daemon, output};

/// Show live connections, of all services, of one, or of one backend
///
/// Reads the connections of services from conntrack: client, listener, backend, and the source address that the backend
/// sees.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ConnectionsCommand {
    /// Only this service, or only this backend of it
    #[arg(value_name = "SERVICE[/BACKEND]")]
    scope: Option<Scope>,

    /// Only connections of this client
    #[arg(long, value_name = "ADDRESS[/PREFIX]")]
    client: Option<String>,

    /// Only connections in this state, named as in the output
    #[arg(long, value_name = "STATE")]
    state: Option<String>,

    /// Maximum number of connections to show
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,

    /// Do not print the titles of columns
    #[arg(long, conflicts_with = "json")]
    no_headers: bool,

    /// Print the daemon's response as JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  sluice connections
  sluice connections web/10.0.2.11:8080 --limit 20
  sluice connections web --client 198.51.100.0/24 --state established
  sluice connections web --json | jq -r '.connections[].client'

SOURCE is the address that the backend sees: that of the client, or one of this host. EXPIRES is the remaining conntrack \
timeout. Bytes are shown if they are counted (http.accounting).

JSON: { \"total\": number, \"connections\": [connection] }; docs/cli-json.md has all keys.";

/// A service, or a backend of it.
#[derive(Clone, Debug)]
struct Scope {
    service: String,
    backend: Option<String>,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, backend) = match text.split_once('/') {
            Some((service, backend)) => (service, Some(backend.to_owned())),
            None => (text, None),
        };
        if service.is_empty() || backend.as_deref() == Some("") {
            return Err("write SERVICE or SERVICE/BACKEND, such as web/10.0.2.11:8080".to_owned());
        }
        Ok(Scope { service: service.to_owned(), backend })
    }
}

impl ConnectionsCommand {
    pub(crate) fn run(&self, common: &Common) -> Result<ExitCode, Fatal> {
        let socket = common.socket()?;
        let query = ConnectionsQuery {
            service: self.scope.as_ref().map(|scope| scope.service.clone()),
            backend: self.scope.as_ref().and_then(|scope| scope.backend.clone()),
            client: self.client.clone(),
            state: self.state.clone(),
            limit: Some(self.limit),
        };
        let answer = daemon::ask("connections", &socket, async |client| client.connections(&query).await)?;
        match self.json {
            true => output::print_json(&answer)?,
            false => output::print(&text(&answer, &query, !self.no_headers))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A table, and what is not in it.
fn text(answer: &sluice_api::Connections, query: &ConnectionsQuery, headers: bool) -> String {
    let shown = answer.connections.len() as u64;
    let mut text = table(&answer.connections, headers);
    if answer.total > shown {
        let fewer = match query {
            ConnectionsQuery { backend: Some(_), .. } => "",
            ConnectionsQuery { service: Some(_), .. } => "add a backend, or ",
            _ => "add a service or backend, or ",
        };
        let (shown, total) = (grouped(shown), grouped(answer.total));
        text += &format!("{shown} of {total} shown: {fewer}raise --limit\n");
    } else if shown == 0 {
        text += "no connections\n";
    }
    text
}

fn table(connections: &[Connection], headers: bool) -> String {
    if connections.is_empty() {
        return String::new();
    }
    let has_bytes = connections.iter().any(|it| it.bytes_in.is_some() || it.bytes_out.is_some());
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["SERVICE/BACKEND", "PROTOCOL", "CLIENT", "LISTENER", "SOURCE", "STATE", "EXPIRES"];
    header.extend(["IN", "OUT"].iter().filter(|_| has_bytes));
    if headers {
        table.set_header(header);
    }
    for it in connections {
        let mut row = vec![
            format!("{}/{}", it.service, it.backend),
            it.protocol.clone(),
            it.client.to_string(),
            it.listener.to_string(),
            it.source.to_string(),
            safe(&it.state).into_owned(),
            duration(it.expires.into()),
        ];
        if has_bytes {
            row.extend([bytes(it.bytes_in), bytes(it.bytes_out)]);
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        if column.index > 5 {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;

    fn connection(backend: &str, protocol: &str, client: &str, state: &str, expires: u32) -> Connection {
        Connection {
            service: "web".into(),
            backend: backend.into(),
            protocol: protocol.into(),
            client: client.parse().unwrap(),
            listener: "203.0.113.10:80".parse().unwrap(),
            source: "10.0.2.1:61000".parse().unwrap(),
            address: "10.0.2.11:8080".parse().unwrap(),
            state: state.into(),
            expires,
            bytes_in: None,
            bytes_out: None,
        }
    }

    #[test]
    fn connections_are_aligned_and_tell_what_is_left_out() {
        let mut answer = sluice_api::Connections {
            total: 3,
            connections: vec![
                connection("10.0.2.11:8080", "tcp", "198.51.100.7:40000", "established", 431_999),
                connection("web2", "udp", "[2001:db8:c::7]:5353", "unreplied", 29),
                connection("web2", "tcp", "198.51.100.77:40001", "time-wait", 119),
            ],
        };
        let of = |service: Option<&str>, backend: Option<&str>| ConnectionsQuery {
            service: service.map(Into::into),
            backend: backend.map(Into::into),
            ..ConnectionsQuery::default()
        };
        let mut told = text(&answer, &of(None, None), true);
        answer.total = 53_211;
        (answer.connections[0].bytes_in, answer.connections[0].bytes_out) = (Some(812), Some(5 << 20));
        told += &text(&answer, &of(None, None), true);
        answer.connections.truncate(1);
        told += &text(&answer, &of(Some("web"), None), true);
        answer.connections.clear();
        told += &text(&answer, &of(Some("web"), Some("web1")), true);
        answer.total = 0;
        told += &text(&answer, &of(None, None), true);
        assert_golden("connections.txt", &told);
        answer.connections.push(connection("web2", "tcp", "198.51.100.77:40001", "time-wait", 119));
        assert!(text(&answer, &of(None, None), false).starts_with("web/web2 "));
    }

    #[test]
    fn service_and_backend_are_told_apart_by_the_first_slash() {
        let of = |text: &str| text.parse::<Scope>().map(|of| (of.service, of.backend));
        assert_eq!(of("web"), Ok(("web".into(), None)));
        assert_eq!(of("web/[2001:db8::1]:80"), Ok(("web".into(), Some("[2001:db8::1]:80".into()))));
        assert!(["", "/b", "web/"].iter().all(|text| of(text).is_err()));
    }
}
