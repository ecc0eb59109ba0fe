//! Good and bad files with pieces changed, cut out, doubled and mixed.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use sluice_config::{SourceFile, parse};

/// Longer files only say more of the same.
const LENGTH: usize = 4000;

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 16, ..ProptestConfig::default() })]

    #[test]
    fn file_that_is_damaged_is_read_or_refused_in_plain_lines(
        (mut text, other) in (select(files()), select(files())),
        damage in prop::collection::vec((any::<Index>(), any::<Index>(), any::<char>(), 0..5_u8), 1..6),
    ) {
        for (from, to, put, how) in damage {
            harm(&mut text, &other, from, to, put, how);
        }
        let source = SourceFile { path: "damaged.yaml".into(), text };
        if let Err(problems) = parse(source, |_| Ok(vec![])) {
            prop_assert!(!problems.is_empty());
            for line in problems.iter().map(ToString::to_string) {
                prop_assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}

fn harm(text: &mut String, other: &str, from: Index, to: Index, put: char, how: u8) {
    let place = |text: &str, index: Index| text.floor_char_boundary(index.index(text.len() + 1));
    let (a, b) = (place(text, from), place(text, to));
    let piece = a.min(b)..a.max(b).min(a.min(b) + 80);
    let piece = piece.start..text.floor_char_boundary(piece.end);
    match how {
        0 => text.insert(a, put),
        1 => drop(text.drain(piece)),
        2 => {
            let again = text[piece].to_owned();
            text.insert_str(b, &again);
        }
        3 => text.replace_range(piece, put.encode_utf8(&mut [0; 4])),
        _ => {
            let start = place(other, from);
            text.insert_str(a, &other[start..other.floor_char_boundary((start + 80).min(other.len()))]);
        }
    }
}

/// Those of the goldens and those that are shipped.
fn files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/good", "tests/bad"].map(|folder| list(&root.join(folder))).concat();
    let goldens = folders.iter().map(|folder| folder.join("config.yaml"));
    let files = goldens.chain(list(&root.join("../../config")));
    // One of them is no UTF-8, on purpose.
    let texts: Vec<_> = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    assert!(texts.len() > 50, "{} files", texts.len());
    texts.into_iter().filter(|text| text.len() < LENGTH).collect()
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("list a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}
