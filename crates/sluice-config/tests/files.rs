//! Files that cannot be read, or not for long.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sluice_config::{MAX_SIZE, load};
use tempfile::tempdir;

const TOO_LARGE: &str = "FILE: error: the configuration is larger than 64 MB, with the files that it includes (remove services or \
     files; a file counts as at least 1 KB)";

/// The only problem of a file, without its name.
fn only_problem(path: &Path) -> String {
    let problems = load(path).expect_err("the file is bad");
    let [problem] = &problems[..] else { panic!("{problems:#?}") };
    problem.to_string().replace(&path.display().to_string(), "FILE")
}

#[test]
fn load_of_a_missing_file_names_it() {
    let folder = tempdir().unwrap();
    assert_eq!(
        only_problem(&folder.path().join("none.yaml")),
        "FILE: error: cannot read the file: No such file or directory (os error 2) (check the path)"
    );
}

#[test]
fn load_of_a_folder_says_so() {
    let folder = tempdir().unwrap();
    assert_eq!(
        only_problem(folder.path()),
        "FILE: error: cannot read the file: Is a directory (os error 21) (write the path of a file)"
    );
}

/// The problem of a path that is not a regular file.
fn refused(what: &str) -> String {
    format!("FILE: error: cannot read the file: it is {what} (write the path of a file)")
}

#[test]
fn load_of_a_fifo_a_socket_or_a_device_is_refused_at_once() {
    let folder = tempdir().unwrap();
    let (fifo, socket) = (folder.path().join("fifo"), folder.path().join("socket"));
    // Nobody writes to it.
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(&socket).unwrap();
    for (path, what) in [
        (&*fifo, "a FIFO or a pipe"),
        (&*socket, "a socket"),
        (Path::new("/dev/zero"), "a device"),
        (Path::new("/dev/null"), "a device"),
    ] {
        assert_eq!(only_problem(path), refused(what));
        let link = folder.path().join("link");
        symlink(path, &link).unwrap();
        assert_eq!(only_problem(&link), refused(what), "behind a link");
        fs::remove_file(&link).unwrap();
    }
    // The same for a file that is included.
    for pattern in ["fifo", "fi*"] {
        fs::write(folder.path().join("main.yaml"), format!("include: {pattern}\n")).unwrap();
        let problems = load(&folder.path().join("main.yaml")).unwrap_err();
        let [problem] = &problems[..] else { panic!("{problems:#?}") };
        assert_eq!(
            problem.to_string().replace(&fifo.display().to_string(), "FILE"),
            refused("a FIFO or a pipe")
        );
    }
}

#[test]
fn load_of_an_unreadable_file_gives_the_reason() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("loop.yaml");
    symlink(&path, &path).unwrap();
    assert!(only_problem(&path).contains("(os error 40)"), "ELOOP");
}

#[test]
fn load_of_a_file_beyond_the_limit_reads_none_of_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    fs::File::create(&path).unwrap().set_len(MAX_SIZE + 1).unwrap();
    assert_eq!(only_problem(&path), TOO_LARGE);
}

#[test]
fn load_of_files_that_are_too_large_together_reads_no_more_of_them() {
    let folder = tempdir().unwrap();
    let main = folder.path().join("main.yaml");
    fs::write(&main, "include: [a/*.yaml, b/*.yaml]\n").unwrap();
    let fill = |name: &str, files: u64, size: u64| {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        for number in 0..files {
            let path = folder.path().join(format!("{name}/{number:06}.yaml"));
            fs::write(&path, "services: {}\n").unwrap();
            fs::File::options().append(true).open(&path).unwrap().set_len(size).unwrap();
        }
    };
    // The rest is NUL, which is no YAML.
    fill("b", 3, MAX_SIZE / 2 + 1);
    let problems = load(&main).unwrap_err();
    let texts: Vec<_> = problems.iter().map(|problem| problem.to_string()).collect();
    let [first, second] = &texts[..] else { panic!("{texts:#?}") };
    assert!(first.contains("b/000000.yaml:2:1: error: control character"), "{first}");
    assert!(second.ends_with(&TOO_LARGE["FILE".len()..]) && second.contains("b/000001.yaml"), "{second}");

    // Very many files are too large, too.
    fs::remove_dir_all(folder.path().join("b")).unwrap();
    fill("a", MAX_SIZE / 1024 + 1, 13);
    fill("b", 3, 13);
    let problems = load(&main).unwrap_err();
    let texts: Vec<_> = problems.iter().map(|problem| problem.to_string()).collect();
    let [first, second] = &texts[..] else { panic!("{texts:#?}") };
    assert!(first.starts_with(&format!("{}:1:", main.display())), "the second pattern: {first}");
    assert!(second.contains("a/") && second.ends_with(&TOO_LARGE["FILE".len()..]), "{second}");
}

/// Each of these texts takes some parser time or stack beyond all measure.
#[test]
fn load_of_ten_hostile_megabytes_is_one_problem_soon() {
    let million = 1_000_000;
    let texts = [
        ("open lists", "[".repeat(10 * million)),
        ("open mappings", "{a: ".repeat(2 * million)),
        ("nested block lists", "- ".repeat(5 * million)),
        ("nested keys", "? ".repeat(5 * million)),
        ("one line", "a".repeat(10 * million)),
        ("open quotes", format!("\"{}", "a\n".repeat(5 * million))),
        ("anchors", "&a ".repeat(3 * million)),
        ("zeros", "\0".repeat(10 * million)),
    ];
    let folder = tempdir().unwrap();
    let path = folder.path().join("hostile.yaml");
    for (name, text) in texts {
        fs::write(&path, text).unwrap();
        let start = Instant::now();
        let problem = only_problem(&path);
        assert!(problem.len() < 300, "{name}: {problem}");
        assert!(start.elapsed() < Duration::from_secs(20), "{name}: {:?}", start.elapsed());
    }
}

#[test]
fn load_names_included_files_by_the_path_of_the_main_one() {
    let folder = tempdir().unwrap();
    // A folder whose name is a pattern matching nothing.
    let folder = folder.path().join("[a]*");
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    fs::write(folder.join("main.yaml"), "include: conf.d/*.yaml\n").unwrap();
    fs::write(folder.join("conf.d/bad.yaml"), "services: 1\n").unwrap();
    let problems = load(&folder.join("main.yaml")).unwrap_err();
    let [problem] = &problems[..] else { panic!("{problems:#?}") };
    assert_eq!(problem.file, folder.join("conf.d/bad.yaml"));
    assert_eq!((problem.line, problem.column), (Some(1), Some(11)));
}
