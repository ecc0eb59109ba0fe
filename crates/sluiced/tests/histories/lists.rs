//! Lists of networks that services allow or deny.

/// Lists of the guard. The last ones fill a set to its size, differ in one address, and are far larger.
pub const COUNT: usize = 8;

/// Networks of a list of the guard. None has the clients of the histories but 192.0.2.66 and 192.0.2.77.
pub fn list(list: usize) -> Vec<String> {
    let wide = |ten: &str| -> Vec<String> {
        let nets =
            [ten, "172.16.0.0/12", "192.0.2.64/26", "198.18.0.0/15", "198.51.100.0/24", "192.88.99.4/32"];
        nets.map(str::to_owned).into()
    };
    let hosts = |count: usize, last: &str| -> Vec<String> {
        let host = |n: usize| format!("100.64.{}.{}", n / 250, 1 + n % 250);
        (0..count - 1).map(host).chain([last.to_owned()]).collect()
    };
    match list {
        0 => vec![],
        1 => vec!["192.0.2.0/24".into()],
        2 => wide("10.0.0.0/8"),
        3 => wide("10.1.0.0/16"),
        4 => vec!["192.0.2.66/32".into()],
        5 => hosts(1024, "192.0.2.66"),
        6 => hosts(1024, "192.0.2.77"),
        _ => hosts(2500, "192.0.2.77"),
    }
}
