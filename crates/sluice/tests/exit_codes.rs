//! What the program exits with, and where it says why.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A directory with a configuration, and no daemon.
struct Place(tempfile::TempDir);

impl Place {
    fn with(services: &str) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let socket = place.0.path().join("sluice.sock");
        let global = format!("forwarding: ignore\ncontrol: {{ socket: {} }}\n", socket.display());
        fs::write(place.config(), format!("{global}services:\n{services}")).unwrap();
        place
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("sluice.yaml")
    }

    fn sluice(&self, arguments: &[&str]) -> Command {
        self.through(&[], arguments)
    }

    /// Runs `sluice` by way of another program.
    fn through(&self, launcher: &[&str], arguments: &[&str]) -> Command {
        let sluice = env!("CARGO_BIN_EXE_sluice");
        let (program, rest) = launcher.split_first().unwrap_or((&sluice, &[]));
        let mut command = Command::new(program);
        command.args(rest).args(launcher.first().map(|_| sluice)).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("SLUICE_CONFIG", self.config()).env("SLUICE_SOCKET", self.0.path().join("sluice.sock"));
        command
    }
}

const WEB: &str = "  web: { listen: 203.0.113.10:80, backends: [10.0.2.11:8080, 10.0.2.12:8080] }\n";
const BAD: &str = "  web: { listen: 203.0.113.10:0, backends: [10.0.2.11:8080], wieght: 3 }\n";

/// Runs to the end and returns standard output and error.
#[track_caller]
fn expect(code: i32, command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\n{stdout}{stderr}");
    (stdout, stderr)
}

#[test]
fn check_of_a_right_file_says_what_it_holds() {
    let place = Place::with(WEB);
    let (out, err) = expect(0, &mut place.sluice(&["check"]));
    assert_eq!(out, format!("{}: ok: 1 service, 2 backends\n", place.config().display()));
    assert_eq!(err, "");
}

#[test]
fn check_of_a_bad_file_tells_all_problems() {
    let place = Place::with(BAD);
    let (out, err) = expect(78, &mut place.sluice(&["check"]));
    assert_eq!(out, "");
    assert_eq!(err.lines().count(), 2, "{err}");
    let start = format!("{}:4:", place.config().display());
    assert!(err.lines().all(|line| line.starts_with(&start)), "{err}");

    let (out, _) = expect(78, &mut place.sluice(&["check", "--json"]));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["ok"], report["problems"].as_array().unwrap().len()), (&Value::Bool(false), 2));
}

#[test]
fn commands_with_a_missing_file_name_it() {
    let place = Place::with(WEB);
    for command in ["check", "plan", "apply", "render"] {
        let (_, err) = expect(78, &mut place.sluice(&[command, "nowhere.yaml"]));
        assert!(err.starts_with("nowhere.yaml: error: "), "{err}");
    }
}

#[test]
fn commands_without_a_daemon_say_what_to_do() {
    let place = Place::with(WEB);
    let socket = place.0.path().join("sluice.sock");
    let told = format!(
        "sluice: sluiced is not running, or its socket is elsewhere: connect {}: No such file or directory (os error 2) \
         (start it with systemctl start sluiced, or set --socket)\n",
        socket.display()
    );
    for arguments in [
        &["status"][..],
        &["reload"],
        &["connections", "web"],
        &["drain", "web/web1"],
        &["weight", "web/web1", "3", "--json"],
    ] {
        let (out, err) = expect(1, &mut place.sluice(arguments));
        assert_eq!((out.as_str(), err.as_str()), ("", told.as_str()), "{arguments:?}");
    }
}

#[test]
fn socket_that_others_may_not_use_says_who_may() {
    let place = Place::with(WEB);
    let socket = place.0.path().join("sluice.sock");
    let _daemon = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The program is not where others may read, either: its file is opened before the user changes.
    let program = fs::File::open(env!("CARGO_BIN_EXE_sluice")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "/proc/self/fd/0", "status"]);
    let (_, err) = expect(1, command.stdin(program).env("SLUICE_SOCKET", &socket));
    assert!(err.starts_with("sluice: not allowed to talk to sluiced: connect "), "{err}");
    assert!(err.ends_with("(run as root, or join the group in control.group)\n"), "{err}");
}

#[test]
fn connections_of_a_backend_are_asked_for_by_name_and_shown_as_a_table() {
    let place = Place::with(WEB);
    let socket = UnixListener::bind(place.0.path().join("sluice.sock")).unwrap();
    let daemon = std::thread::spawn(move || {
        let connection = r#"{"service":"web","backend":"10.0.2.11:8080","protocol":"tcp","client":"198.51.100.7:40000",
            "listener":"203.0.113.10:80","source":"10.0.2.1:61000","address":"10.0.2.11:8080","state":"established",
            "expires":90,"bytes_in":null,"bytes_out":null}"#;
        let body = format!(r#"{{"total":53211,"connections":[{connection}]}}"#);
        let asked = socket.incoming().take(2).map(|stream| {
            let (mut stream, mut request) = (stream.unwrap(), [0; 4096]);
            let length = stream.read(&mut request).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            String::from_utf8_lossy(&request[..length]).lines().next().unwrap().to_owned()
        });
        asked.collect::<Vec<_>>()
    });
    let arguments = ["connections", "web/10.0.2.11:8080", "--limit", "1"];
    let (out, _) = expect(0, &mut place.sluice(&arguments));
    let lines: Vec<_> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let row = "web/10.0.2.11:8080 tcp 198.51.100.7:40000 203.0.113.10:80 10.0.2.1:61000 established 1m 30s";
    assert_eq!(lines[1..], [row, "1 of 53,211 shown: raise --limit"]);
    let (out, _) = expect(0, &mut place.sluice(&[&arguments[..], &["--json"]].concat()));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["total"], 53211);
    let line = "GET /api/v1/connections?service=web&backend=10.0.2.11%3A8080&limit=1 HTTP/1.1";
    assert_eq!(daemon.join().unwrap(), [line, line]);
}

#[test]
fn plan_and_apply_without_cap_net_admin_exit_77() {
    let place = Place::with(WEB);
    for command in ["plan", "apply", "cleanup"] {
        let without = ["setpriv", "--bounding-set=-net_admin", "--"];
        let (_, err) = expect(77, &mut place.through(&without, &[command]));
        assert!(err.contains("(be root or have CAP_NET_ADMIN"), "{err}");
    }
}

#[test]
fn apply_and_cleanup_of_a_user_without_rights_exit_77_whoever_owns_the_state_directory() {
    let place = Place::with(WEB);
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for command in ["apply", "cleanup"] {
        // As in `socket_that_others_may_not_use_says_who_may`.
        let program = fs::File::open(env!("CARGO_BIN_EXE_sluice")).unwrap();
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--", "/proc/self/fd/0", command];
        let mut command = Command::new("setpriv");
        command.args(user).stdin(program);
        command.env("SLUICE_CONFIG", place.config()).env("SLUICE_SOCKET", place.0.path().join("sluice.sock"));
        let (_, err) = expect(77, &mut command);
        assert!(err.contains("(be root or have CAP_NET_ADMIN"), "{err}");
    }
}

#[test]
fn usage_errors_exit_2() {
    let place = Place::with(WEB);
    for arguments in [
        &["chekc"][..],
        &["check", "--jsn"],
        &[],
        &["render", "--family", "ip6"],
        &["render", "--json", "--format", "nft"],
    ] {
        let (_, err) = expect(2, &mut place.sluice(arguments));
        assert!(err.contains("Usage: sluice"), "{err}");
    }
}

#[test]
fn render_of_what_iptables_lacks_names_the_service() {
    let hash =
        "  by-client: { listen: 203.0.113.10:80, scheduler: source-hash, backends: [10.0.2.11:8080] }\n";
    let place = Place::with(hash);
    let (out, err) = expect(1, &mut place.sluice(&["render", "--format", "iptables"]));
    assert_eq!(out, "");
    assert!(err.starts_with("sluice: render service by-client for iptables: source-hash has no"), "{err}");
}

#[test]
fn render_in_every_format_needs_only_the_file() {
    let place = Place::with(WEB);
    let render = |format| expect(0, &mut place.sluice(&["render", "--format", format])).0;
    assert!(render("nft").starts_with("table inet sluice {\n"));
    assert!(render("iptables").contains("\n-A tcp/web/203.0.113.10/80 -p tcp "));
    let json: Value = serde_json::from_str(&render("json")).unwrap();
    let elements =
        json["sets"].as_array().unwrap().iter().flat_map(|set| set["elements"].as_array().unwrap());
    let backends: Vec<_> = elements.filter_map(|element| element["backend"].as_str()).collect();
    assert_eq!(backends, ["10.0.2.11:8080", "10.0.2.12:8080"]);
    assert_eq!(expect(0, &mut place.sluice(&["render", "--json"])).0, render("json"));
}

#[test]
fn plan_before_and_after_apply_and_cleanup_tells_whether_there_is_work() {
    let place = Place::with(WEB);
    let story =
        "$0 plan; echo $?; $0 apply && $0 plan; echo $?; $0 apply; $0 cleanup && $0 plan --json; echo $?";
    let (out, err) = expect(0, &mut place.through(&["unshare", "--net", "sh", "-c", story], &[]));
    assert_eq!(err, "");
    let codes: Vec<_> = out.lines().filter(|line| line.parse::<u8>().is_ok()).collect();
    assert_eq!(codes, ["3", "0", "3"], "{out}");
    assert!(out.contains("\nnothing to do\n0\nnothing changed in the kernel\n"), "{out}");
}

#[test]
fn output_that_nobody_reads_ends_quietly() {
    let place = Place::with(WEB);
    for arguments in [&["render"][..], &["completions", "bash"], &["check", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let Output { status, stderr, .. } = place.sluice(arguments).stdout(writer).output().unwrap();
        assert_eq!((status.code(), String::from_utf8(stderr).unwrap()), (Some(0), String::new()));
    }
}

#[test]
fn cleanup_while_somebody_answers_on_the_socket_is_refused() {
    let place = Place::with(WEB);
    let socket = place.0.path().join("sluice.sock");
    let _daemon = UnixListener::bind(&socket).unwrap();
    for command in ["cleanup", "apply"] {
        let (_, err) = expect(1, &mut place.sluice(&[command]));
        assert!(err.starts_with("sluice: sluiced is running (pid "), "{err}");
        assert!(
            err.contains("sluice.sock (") && err.contains("stop it first; if it hangs: systemctl kill"),
            "{err}"
        );
    }
    assert!(Path::new(&socket).exists());
}

#[test]
fn digest_to_compare_decides_about_the_exit_code() {
    let place = Place::with(WEB);
    let (out, _) = expect(0, &mut place.sluice(&["digest"]));
    let digest = out.trim();
    assert!(digest.len() == 12 && digest.bytes().all(|c| c.is_ascii_hexdigit()), "{out}");
    let (out, _) = expect(0, &mut place.sluice(&["digest", "--compare", digest]));
    assert_eq!(out.trim(), digest);
    expect(3, &mut place.sluice(&["digest", "--compare", "000000000000"]));
    let (out, _) = expect(3, &mut place.sluice(&["digest", "--json", "--compare", "000000000000"]));
    let report: Value = serde_json::from_str(&out).unwrap();
    let full = report["full"].as_str().unwrap();
    assert!(full.len() == 64 && full.starts_with(digest), "{report}");
    assert_eq!((report["digest"].as_str(), report["same"].as_bool()), (Some(digest), Some(false)));
    expect(0, &mut place.sluice(&["digest", "--compare", full]));
    expect(2, &mut place.sluice(&["digest", "--compare", "web"]));
    expect(78, &mut Place::with(BAD).sluice(&["digest"]));
}
