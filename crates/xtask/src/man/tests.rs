//! The committed files are up to date, and man, mandoc and the shells accept them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

const PAGES: [&str; 3] = ["man/sluice.1", "man/sluiced.8", "man/sluice.yaml.5"];

#[test]
fn manual_by_the_code_is_as_committed() {
    let docs = docs();
    let stale = stale(&docs, &files(&docs).unwrap());
    assert!(stale.is_empty(), "{stale:?} differ from what the code says (cargo xtask man)");
}

#[test]
fn page_by_mandoc_has_no_warnings() {
    for page in PAGES {
        let said = run(
            "mandoc",
            Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(docs().join(page)),
        );
        assert_eq!(said, "", "{page}");
    }
}

#[test]
fn page_by_man_has_no_warnings_and_fits_80_columns() {
    for page in PAGES {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l"]).arg(docs().join(page));
        man.envs([("MANWIDTH", "80"), ("LC_ALL", "C.UTF-8")]);
        // Warnings go to standard error, which is looked at too.
        let text = run("man-db", &mut man);
        assert!(text.contains("\nSEE ALSO\n"), "{page}: {text}");
        let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{page} has lines of more than 80 columns: {wide:#?}");
        assert!(!text.contains(": warning:"), "{page}: {text}");
    }
}

#[test]
fn signals_and_exit_codes_of_the_help_are_in_the_pages() {
    for (name, file) in [("sluice", PAGES[0]), ("sluiced", PAGES[1])] {
        let help = command_line(name).get_after_help().unwrap().to_string();
        let page = fs::read_to_string(docs().join(file)).unwrap();
        let named = help.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| {
            let signal = word.starts_with("SIG");
            signal || !word.is_empty() && word.len() < 3 && word.bytes().all(|c| c.is_ascii_digit())
        });
        let named: Vec<_> = named.collect();
        assert!(named.len() > 5, "{help}");
        for word in named {
            let tag = |line: &str| line.split([',', ' ']).any(|part| part == word);
            assert!(page.lines().any(tag), "{word} of `{name} --help` is not in docs/{file}");
        }
    }
}

#[test]
fn completion_by_bash_knows_commands_and_options() {
    let complete = |program: &str, words: &str| {
        let script = docs().join(format!("completions/{program}.bash"));
        run("bash", Command::new("bash").arg("-n").arg(&script));
        let text = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _{program} {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        run("bash", Command::new("bash").args(["--norc", "-c", &text]))
    };
    assert_eq!(complete("sluice", "sluice sta"), "status\n");
    assert_eq!(complete("sluice", "sluice render --form"), "--format\n");
    assert_eq!(complete("sluiced", "sluiced --log-f"), "--log-format\n");
}

#[test]
fn completion_by_bash_knows_names_also_those_with_colons() {
    let complete = |line: &str, last: &str| {
        let sluice = sluice_that_knows("web/10.0.2.11:8080", last);
        let text = format!(
            "source {}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=($COMP_LINE ''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _sluice sluice '' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            docs().join("completions/sluice.bash").display()
        );
        let mut bash = Command::new("bash");
        run("bash", bash.args(["--norc", "-c", &text]).env("PATH", path_with(sluice.path())))
    };
    assert_eq!(complete("sluice --socket /s drain --wait ", "/s drain --wait "), "web/10.0.2.11:8080\n");
    assert_eq!(complete("sluice drain we", "drain we"), "web/10.0.2.11:8080\n");
    assert_eq!(complete("sluice drain web/10.0.2.11:8", "drain web/10.0.2.11:8"), "8080\n");
    // Without names it completes options.
    assert!(complete("sluice drain ", "something else").contains("--wait\n"));
}

#[test]
fn completion_by_fish_knows_names() {
    let home = tempfile::tempdir().unwrap();
    let sluice = sluice_that_knows("web/10.0.2.11:8080", "--socket /s drain web/10");
    let script = docs().join("completions/sluice.fish");
    let complete = format!("source {}; complete -C 'sluice --socket /s drain web/10'", script.display());
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", &complete]);
    fish.env("HOME", home.path()).env("PATH", path_with(sluice.path()));
    assert_eq!(run("fish", &mut fish), "web/10.0.2.11:8080\n");
}

#[test]
fn completion_by_fish_knows_commands_and_options() {
    let home = tempfile::tempdir().unwrap();
    let complete = |program: &str, words: &str| {
        let script = docs().join(format!("completions/{program}.fish"));
        let fish = || {
            let mut fish = Command::new("fish");
            fish.arg("--no-config").env("HOME", home.path());
            fish
        };
        run("fish", fish().arg("--no-execute").arg(&script));
        run("fish", fish().arg("-c").arg(format!("source {}; complete -C '{words}'", script.display())))
    };
    assert_eq!(complete("sluice", "sluice sta").split('\t').next(), Some("status"));
    assert_eq!(complete("sluice", "sluice render --form").split('\t').next(), Some("--format"));
    assert_eq!(complete("sluiced", "sluiced --log-f").split('\t').next(), Some("--log-format"));
}

#[test]
fn completion_by_zsh_knows_commands_options_and_names() {
    let sluice = sluice_that_knows("web/10.0.2.11:8080", "--socket /s drain web/10");
    let complete = |program: &str, typed: &str| complete_by_zsh(program, typed, sluice.path());
    assert_eq!(complete("sluice", "sluice sta"), "status\n");
    assert_eq!(complete("sluice", "sluice render --form"), "render --format\n");
    assert_eq!(complete("sluiced", "sluiced --log-f"), "--log-format\n");
    let typed = "sluice --socket /s drain web/10";
    assert_eq!(complete("sluice", typed), "--socket /s drain web/10.0.2.11:8080\n");
}

/// Types into an interactive zsh, which completes words only then, and runs the completed line.
#[track_caller]
fn complete_by_zsh(program: &str, typed: &str, programs: &Path) -> String {
    const TYPE: &str = r#"
        zmodload zsh/zpty || exit 1
        zpty typed "TERM=dumb HOME=$HOME zsh -f -i"
        zpty -w typed "PROMPT=; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D"
        zpty -w typed "$2() { print -r -- \"ran:\$*:\" }"
        zpty -w -n typed "$3"$'\t\n'
        while zpty -r typed line; do
            [[ $line == ran:*:* ]] && print -r -- ${${line#*ran:}%:*} && exit 0
        done
        exit 1"#;
    let home = tempfile::tempdir().unwrap();
    let folder = docs().join("completions");
    let script = folder.join(format!("_{program}"));
    run("zsh", Command::new("zsh").arg("-n").arg(&script));
    let mut zsh = Command::new("timeout");
    zsh.args(["20", "zsh", "-f", "-c", TYPE, "zsh"]).arg(&folder).args([program, typed]);
    run("zsh", zsh.env("HOME", home.path()).env("PATH", path_with(programs)))
}

/// A directory with a fake `sluice`, which prints one name if it is asked for names with these last words of the command
/// line.
fn sluice_that_knows(name: &str, last: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sluice");
    let script = format!("#!/bin/sh\ncase \"$*\" in '__complete '*'{last}') echo '{name}' ;; esac\n");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The search path, with a directory before all others.
fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// The standard output and standard error of a program of a Debian package.
#[track_caller]
fn run(package: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error} (tests/setup/install {package})");
    });
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{command:?}: {}: {text}", output.status);
    text
}
