//! One daemon per network namespace, whoever else takes its lock.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sluice_testkit::{Daemon, Finished, Lab, program};

use crate::launch::{NOBODY, nobodys, sluiced_as_nobody, sluiced_on};
use crate::web;

const VIP: &str = "203.0.113.10:80";

/// With this variable only the lock excludes a second daemon, as on older kernels.
const UNOWNED: &[(&str, &str)] = &[("SLUICE_UNOWNED", "1")];

/// A user that is neither root nor `nobody`.
const MALLORY: u32 = 65533;

/// A process without privileges that holds the lock; killed when dropped.
struct Impostor(Child);

impl Impostor {
    /// A process that is root in a user namespace of its own. `fills`: nobody can connect to it any more.
    fn start(lab: &Lab, fills: bool) -> Self {
        const HOLD: &str = "use Socket; use Fcntl; my $name = pack_sockaddr_un(\"\\0inet sluice\");
            socket(my $lock, PF_UNIX, SOCK_STREAM, 0) or die; bind($lock, $name) or die qq(bind: $!);
            listen($lock, $ARGV[0] ? 0 : 9) or die; my @peers;
            while ($ARGV[0]) {
                socket(my $peer, PF_UNIX, SOCK_STREAM, 0) or die; fcntl($peer, F_SETFL, O_NONBLOCK) or die;
                connect($peer, $name) or last; push @peers, $peer;
            }
            $| = 1; print qq(ready\\n); sleep";
        let mut command = Command::new("setpriv");
        let user = MALLORY.to_string();
        command.args(["--pdeathsig", "KILL", "--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
        command.args(["unshare", "--user", "--map-root-user", "--", "perl", "-e", HOLD]);
        command.arg(if fills { "1" } else { "" }).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = lab.balancer.run(|| command.spawn()).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let impostor = Impostor(child);
        assert_eq!(line, "ready\n", "user {MALLORY} takes the lock");
        impostor
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a daemon with its own control socket and state directory until it exits.
fn second(lab: &Lab, sluiced: &Path) -> Finished {
    // The directory belongs to the user of the first that runs.
    let directory = lab.path(&format!("second-{}", sluiced.file_name().unwrap().display()));
    let (file, socket) = (lab.path("second.yaml"), directory.join("sluice.sock"));
    fs::write(&file, format!("{}\ncontrol: {{socket: {}}}\n", web(), socket.display())).unwrap();
    lab.finish(Command::new(sluiced).arg("-c").arg(file).env(UNOWNED[0].0, UNOWNED[0].1))
}

/// Checks that a daemon was refused because of this holder of the lock.
fn assert_refused(refused: Finished, holder: &str) {
    let told = refused.expect(77).stderr;
    assert!(told.contains(&format!("table inet sluice is owned by another process ({holder})")), "{told}");
}

/// `sluiced` as user `nobody`, under another name than other scripts.
fn nobodys_sluiced(lab: &Lab) -> PathBuf {
    let script = lab.path("nobodys");
    fs::rename(sluiced_as_nobody(lab), &script).unwrap();
    script
}

#[test]
fn process_without_privileges_that_holds_the_lock_keeps_no_daemon_from_starting() {
    let lab = nobodys();
    let as_nobody = nobodys_sluiced(&lab);
    lab.configure(&web());
    for sluiced in [program("sluiced"), as_nobody] {
        for fills in [false, true] {
            let impostor = Impostor::start(&lab, fills);
            let ignored = match fills {
                false => {
                    format!("its holder cannot change tables (perl, pid {}, uid {MALLORY})", impostor.0.id())
                }
                true => "its holder accepts no connections".to_owned(),
            };
            let daemon = Daemon::start_program(&lab, &sluiced, UNOWNED);
            let line = format!("ignored the lock of table inet sluice: {ignored}");
            assert!(daemon.log().lines().any(|it| it.contains(&line)), "{line} in\n{}", daemon.log());
            assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
            assert!(daemon.stop().success());
        }
    }
}

#[test]
fn second_daemon_is_refused_whichever_of_root_and_the_daemons_user_runs_the_first() {
    let lab = nobodys();
    let (as_root, as_nobody) = (program("sluiced"), nobodys_sluiced(&lab));
    let hidden = sluiced_on(&lab, "mount -t proc -o hidepid=2 none /proc", as_nobody.to_str().unwrap());
    lab.configure(&web());
    for (first, uid) in [(&as_root, 0), (&as_nobody, NOBODY)] {
        let daemon = Daemon::start_program(&lab, first, UNOWNED);
        let pid = daemon.pid();
        for sluiced in [&as_root, &as_nobody] {
            assert_refused(second(&lab, sluiced), &format!("sluiced, pid {pid}, uid {uid}"));
        }
        // In the sandbox of the unit, /proc shows processes of the same user only.
        let holder = if uid == NOBODY { "sluiced, " } else { "" };
        assert_refused(second(&lab, &hidden), &format!("{holder}pid {pid}, uid {uid}"));
        assert_eq!(lab.client.tcp_shares(4, VIP), lab.even(1));
        assert!(daemon.stop().success());
    }
}

#[test]
fn users_who_fill_the_queue_of_the_lock_do_not_hide_who_holds_it() {
    const FILL: &str = "use Socket; use Fcntl; my $name = pack_sockaddr_un(\"\\0inet sluice\");
        for (1..5000) {
            socket(my $peer, PF_UNIX, SOCK_STREAM, 0) or die; fcntl($peer, F_SETFL, O_NONBLOCK) or die;
            connect($peer, $name);
        }";
    let lab = Lab::new();
    lab.configure(&web());
    let daemon = Daemon::start_with(&lab, UNOWNED);
    let user = MALLORY.to_string();
    let mut fill = Command::new("setpriv");
    fill.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", "perl", "-e", FILL]);
    lab.finish(&mut fill).expect(0);
    assert_refused(second(&lab, &program("sluiced")), &format!("sluiced, pid {}, uid 0", daemon.pid()));
}
