//! What holds for every text, and for every configuration.

mod configuration;
mod yaml;

use std::sync::LazyLock;

use proptest::prelude::*;
use sluice_config::{Loaded, Problem, Severity, SourceFile, parse};

use configuration::config;
use yaml::{Style, write};

proptest! {
    #[test]
    fn parse_of_any_text_ends_well(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn parse_of_yaml_like_text_ends_well(words in prop::collection::vec(word(), 0..60)) {
        check(&words.concat())?;
    }

    #[test]
    fn parse_of_a_damaged_file_ends_well(
        cut in any::<prop::sample::Index>(),
        length in 0usize..40,
        patch in prop_oneof![word(), any::<String>()],
    ) {
        let mut text = include_str!("../../../../config/sluice.yaml").to_owned();
        let mut boundaries = text.char_indices().map(|(at, _)| at).collect::<Vec<_>>();
        boundaries.push(text.len());
        let start = cut.index(boundaries.len());
        let end = (start + length).min(boundaries.len() - 1);
        text.replace_range(boundaries[start]..boundaries[end], &patch);
        check(&text)?;
    }

    #[test]
    fn parse_of_a_written_configuration_gives_it_back(config in config(), style in any::<u64>()) {
        let text = write(&config, &mut Style(style));
        match parse_alone(&text) {
            Ok(loaded) => {
                prop_assert_eq!(loaded.config, config, "{}", text);
                fits_the_schema(&text)?;
            }
            Err(problems) => prop_assert!(false, "{problems:#?}\n{text}"),
        }
    }
}

fn parse_alone(text: &str) -> Result<Loaded, Vec<Problem>> {
    let main = SourceFile { path: "sluice.yaml".into(), text: text.to_owned() };
    parse(main, |_| Ok(vec![]))
}

/// No panic; the schema for editors takes what is good; a refusal says why; every problem but one of the whole file is somewhere in the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    let result = parse_alone(text);
    if result.is_ok() {
        fits_the_schema(text)?;
    }
    let problems = match &result {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    prop_assert_eq!(errors > 0, result.is_err());
    // YAML ends lines at a lone carriage return too, and reports an unfinished text behind its end.
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u32;
    let mut last = None;
    for problem in problems {
        prop_assert!(problem.line.is_some() || problem.what == "no service is defined", "{problem}");
        prop_assert!(problem.line <= Some(lines + 1), "{problem}");
        prop_assert!((problem.line, problem.column) >= last.unwrap_or_default() || problem.line.is_none());
        prop_assert!(!problem.to_string().contains('\n'));
        last = Some((problem.line, problem.column));
    }
    Ok(())
}

fn fits_the_schema(text: &str) -> Result<(), TestCaseError> {
    static SCHEMA: LazyLock<jsonschema::Validator> =
        LazyLock::new(|| jsonschema::draft7::new(&sluice_config::schema()).unwrap());
    let value = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).unwrap();
    let errors: Vec<_> = SCHEMA.iter_errors(&value).map(|error| error.to_string()).collect();
    prop_assert!(errors.is_empty(), "{errors:#?}\n{text}");
    Ok(())
}

/// Bits of configuration files, so that random ones get past the first line.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "services:",
        "web:",
        "listen:",
        "backends:",
        "hash:",
        "on:",
        "defaults:",
        "control:",
        "include:",
        "name:",
        "address:",
        "weight:",
        "health:",
        "tcp:",
        "exec:",
        "command:",
        "quorum:",
        "slow_start:",
        "scheduler:",
        "source-hash",
        "203.0.113.10:80",
        "10.0.2.11",
        "*:80",
        "\"*:1-9/udp\"",
        "[2001:db8::1]:80",
        "fd00::1:80",
        "8000-8010",
        "\n",
        "\n  ",
        "\n    ",
        "\n      - ",
        " ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "? ",
        "&a ",
        "*a",
        "!t ",
        "<<",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "# ",
        "'",
        "\"",
        "\\",
        "|\n",
        ">-\n",
        "\t",
        "\r",
        "\r\n",
        "\0",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "é",
        "0",
        "1e9",
        "0x10",
        "true",
        "~",
        ".inf",
    ];
    prop::sample::select(WORDS).prop_map(str::to_owned)
}
