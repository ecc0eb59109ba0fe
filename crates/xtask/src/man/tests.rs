//! The committed files are those of the code, and man, mandoc and the shells take them.

use std::fs;
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

/// Types into an interactive zsh, which runs what it made of that: only then is a word completed.
#[test]
fn completion_by_zsh_knows_commands_and_options() {
    const TYPE: &str = r#"
        zmodload zsh/zpty || exit 1
        zpty typed "TERM=dumb HOME=$HOME zsh -f -i"
        zpty -w typed "PROMPT=; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D"
        zpty -w typed "$2() { print -r -- \"ran:\$*:\" }"
        zpty -w -n typed "$3"$'\t\n'
        while zpty -r typed line; do
            [[ $line == ran:*:* ]] && print -r -- ${${line#*ran:}%%:*} && exit 0
        done
        exit 1"#;
    let home = tempfile::tempdir().unwrap();
    let folder = docs().join("completions");
    let complete = |program: &str, typed: &str| {
        let script = folder.join(format!("_{program}"));
        run("zsh", Command::new("zsh").arg("-n").arg(&script));
        let mut zsh = Command::new("timeout");
        zsh.args(["20", "zsh", "-f", "-c", TYPE, "zsh"]).arg(&folder).args([program, typed]);
        run("zsh", zsh.env("HOME", home.path()))
    };
    assert_eq!(complete("sluice", "sluice sta"), "status\n");
    assert_eq!(complete("sluice", "sluice render --form"), "render --format\n");
    assert_eq!(complete("sluiced", "sluiced --log-f"), "--log-format\n");
}

/// What a program of a Debian package says, on standard output and then on standard error.
#[track_caller]
fn run(package: &str, command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error} (tests/setup/install {package})");
    });
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{command:?}: {}: {text}", output.status);
    text
}
