//! Programs of `exec` probes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sluice_core::model::{ExecProbe, Probe, ProbeTarget};
use sluice_netlink::programs::raise_open_files;
use sluice_probe::{ProbeOutcome, ProbeResult, Slots, attempt};
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

async fn ask(probe: &Probe) -> ProbeOutcome {
    ask_for(probe, Duration::from_secs(5)).await
}

async fn ask_for(probe: &Probe, timeout: Duration) -> ProbeOutcome {
    let target = ProbeTarget { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 0 };
    attempt(probe, target, timeout, &Slots::default()).await
}

fn run(script: &str) -> Probe {
    program(&["/bin/sh", "-c", script], false)
}

fn program(command: &[&str], keep_capabilities: bool) -> Probe {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    Probe::Exec(ExecProbe { command, keep_capabilities })
}

#[tokio::test]
async fn program_is_judged_by_its_exit_status_and_says_so() {
    let good = ask(&run("echo fine; echo more")).await;
    assert_eq!((good.verdict, &*good.detail), (ProbeResult::Success, "run /bin/sh: exit status 0: fine"));
    let bad = ask(&run("echo bad >&2; exit 3")).await;
    assert_eq!((bad.verdict, &*bad.detail), (ProbeResult::Failure, "run /bin/sh: exit status 3: bad"));
    let absent = ask(&program(&["/no/such/program"], false)).await;
    assert_eq!(absent.verdict, ProbeResult::Skipped, "{}", absent.detail);
}

#[tokio::test]
async fn program_that_does_not_end_is_killed_with_its_children() {
    let directory = std::env::temp_dir().join(format!("sluice-probe-{}", std::process::id()));
    let script = format!("sleep 1000 & echo $! > {}; wait", directory.display());
    let outcome = ask_for(&run(&script), Duration::from_secs(1)).await;
    assert_eq!(
        (outcome.verdict, &*outcome.detail),
        (ProbeResult::Failure, "run /bin/sh: no answer within 1s")
    );
    let child = std::fs::read_to_string(&directory).unwrap();
    std::fs::remove_file(&directory).unwrap();
    until_gone(child.trim()).await;
}

/// Waits until a process is gone, or a zombie of another parent.
async fn until_gone(pid: &str) {
    let status = format!("/proc/{pid}/stat");
    let is_gone = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !is_gone() {
        assert!(std::time::Instant::now() < deadline, "process {pid} lives on");
        tokio::task::yield_now().await;
    }
}

/// The last word of a text.
fn last_word(text: &str) -> &str {
    text.split_whitespace().next_back().unwrap_or_default()
}

#[tokio::test]
async fn program_that_exits_leaves_no_process_of_its_group_behind() {
    for status in ["0", "3"] {
        let outcome = ask(&run(&format!("sleep 1000 & echo $!; exit {status}"))).await;
        assert!(outcome.detail.starts_with(&format!("run /bin/sh: exit status {status}: ")), "{outcome:?}");
        until_gone(last_word(&outcome.detail)).await;
    }
}

#[tokio::test]
async fn program_that_is_gone_is_reaped() {
    let outcome = ask(&run("echo $$")).await;
    let process = format!("/proc/{}", last_word(&outcome.detail));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::fs::exists(&process).unwrap() {
        assert!(std::time::Instant::now() < deadline, "it is still a zombie");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn program_gets_a_path_and_a_language_and_nothing_else_of_the_environment() {
    let names = ask(&run("env | cut -d= -f1 | grep -vxE 'PWD|SHLVL|_|OLDPWD' | sort | tr '\\n' ' '")).await;
    assert_eq!(names.detail, "run /bin/sh: exit status 0: LANG PATH");
    let values = ask(&run("echo $LANG $PATH")).await;
    let path = std::env::var("PATH").unwrap();
    assert_eq!(values.detail, format!("run /bin/sh: exit status 0: C {path}"));
}

#[tokio::test]
async fn program_has_no_capabilities_no_way_to_them_and_the_inherited_limit_of_open_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 777, hard).unwrap();
    raise_open_files().unwrap();
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
    assert_eq!(ask(&run("ulimit -Sn")).await.detail, "run /bin/sh: exit status 0: 777");
    let script = "grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs):' /proc/self/status | tr -s '\\n\\t' ' '";
    let sets = ask(&run(script)).await.detail;
    let none = "0".repeat(16);
    let expected = format!(
        "run /bin/sh: exit status 0: CapInh: {none} CapPrm: {none} CapEff: {none} CapAmb: {none} NoNewPrivs: 1"
    );
    assert_eq!(sets, expected);
}

#[tokio::test]
async fn program_that_may_keep_capabilities_has_those_that_another_child_has() {
    let script = "grep -E '^Cap(Prm|Eff)|NoNewPrivs:' /proc/self/status | tr -s '\\n\\t' ' '";
    let kept = ask(&program(&["/bin/sh", "-c", script], true)).await;
    let child = std::process::Command::new("/bin/sh").args(["-c", script]).output().unwrap();
    let expected = format!("run /bin/sh: exit status 0: {}", String::from_utf8(child.stdout).unwrap().trim());
    assert_eq!(kept.detail, expected);
}

#[test]
fn program_that_this_host_does_not_start_in_time_is_not_a_failure() {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let (release, released) = channel::<()>();
    runtime.block_on(async {
        // The only thread that starts programs has other work.
        let busy = spawn_blocking(move || released.recv());
        let outcome = ask_for(&run("true"), Duration::from_millis(100)).await;
        let reason = "32 programs of this service run, or this host is overloaded";
        let expected = format!("run /bin/sh: not started within 100ms: {reason}");
        assert_eq!((outcome.verdict, outcome.detail), (ProbeResult::Skipped, expected));
        drop(release);
        let _ = busy.await;
        assert_eq!(ask(&run("true")).await.verdict, ProbeResult::Success);
    });
}

#[tokio::test]
async fn program_that_prints_much_or_leaves_a_child_behind_is_judged_by_its_exit_status() {
    let much = ask(&run("echo much; head -c 1000000 /dev/zero")).await;
    assert_eq!((much.verdict, &*much.detail), (ProbeResult::Success, "run /bin/sh: exit status 0: much"));
    let child = ask(&run("echo gone; sleep 5 & exit 0")).await;
    assert_eq!((child.verdict, &*child.detail), (ProbeResult::Success, "run /bin/sh: exit status 0: gone"));
    assert!(child.took < Duration::from_secs(5), "{:?}", child.took);
}

#[tokio::test]
async fn text_of_an_outcome_is_shortened() {
    let outcome = ask(&run("head -c 3000 /dev/zero | tr '\\0' x")).await;
    assert!(outcome.detail.len() <= 1003 && outcome.detail.ends_with("xxx..."), "{}", outcome.detail);
}
