//! `health` as it is written: one kind of probe, and when to believe it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::de::MapAccess;
use serde_json::{Value, json};
use sluice_core::model::{HealthCheck, HttpProbe, Initial, Probe, UdpProbe};

use crate::amount::{InARow, Interval, PortNumber, Timeout};
use crate::place::Here;
use crate::probe_word::{Codes, Host, HttpPath, Needle, Text, Word};
use crate::problem::{Fault, nearest, quoted};
use crate::read::{FromYaml, Given, Key, Keys, Many, Scalar, mapping};
use crate::schema::{Definitions, constant, either};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u16 = 2;
const DEFAULT_FALL: u16 = 3;
const DEFAULT_EXPECT: (u16, u16) = (200, 399);

/// `health`: a check, or none where `defaults` has one. Services share that of `defaults`.
#[derive(Clone, Debug)]
pub(crate) struct Health(pub(crate) Option<Arc<HealthCheck>>);

impl FromYaml for Health {
    const EXPECTED: &'static str = "a health check such as `{ tcp: {} }`";

    fn schema(definitions: &mut Definitions) -> Value {
        let one_of: Vec<_> = KINDS.iter().map(|kind| json!({ "required": [kind] })).collect();
        let mapping = json!({ "allOf": [HealthMapping::schema(definitions), { "oneOf": one_of }] });
        either(constant("none", &format!("{}, or none", Self::EXPECTED)), mapping)
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        let fix = match scalar {
            Scalar::Text("none") => return Some(Health(None)),
            Scalar::Text(kind) if KINDS.contains(&kind) => format!("write `{{ {kind}: {{}} }}`"),
            _ => "write a check, such as `{ tcp: {} }`, or `none`".to_owned(),
        };
        here.error(Fault::new(format!("{scalar} is no health check"), fix));
        None
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let check = HealthMapping::mapping(here, mapping)?.and_then(|mapping| mapping.check(here));
        Ok(check.map(|check| Health(Some(Arc::new(check)))))
    }
}

const KINDS: &[&str] = &["tcp", "http", "udp", "icmp", "exec"];

mapping! {
    HealthMapping, "a health check", refused: |_| None, required: [], {
        /// Good when a connection is accepted.
        tcp: Nothing,
        /// Good when a GET is answered as expected.
        http: HttpProbe,
        /// Good when a datagram is answered, or at least not refused.
        udp: UdpProbe,
        /// Good when an echo request is answered.
        icmp: Nothing,
        /// Good when a program exits with 0.
        exec: Command,
        /// The port to probe; without it the backend's.
        port: PortNumber,
        /// From the beginning of one attempt to that of the next.
        interval: Interval,
        /// How long an attempt may take.
        timeout: Timeout,
        /// So many successes in a row make a backend healthy.
        rise: InARow,
        /// So many failures in a row make a backend unhealthy.
        fall: InARow,
        /// What is assumed before the first result.
        initial: Initial,
    }
}

impl HealthMapping {
    /// `None` when something is wrong.
    fn check(self, here: &Here<'_>) -> Option<HealthCheck> {
        let HealthMapping { tcp, http, udp, icmp, exec, port, interval, timeout, rise, fall, initial } = self;
        let probe = only(
            here,
            [
                tcp.map(|Nothing| Probe::Tcp),
                http.map(Probe::Http),
                udp.map(Probe::Udp),
                icmp.map(|Nothing| Probe::Icmp),
                exec.map(|Command(words)| Probe::Exec(words)),
            ],
        );
        if let (Some(Probe::Icmp), Given::Good(_)) = (&probe, &port) {
            here.key("port").error_at_key(Fault::new("icmp has no ports", "remove `port`"));
        }
        let (slow, which) = match timeout {
            Given::Absent => ("interval", "the default timeout of "),
            Given::Good(_) | Given::Bad => ("timeout", "timeout "),
        };
        let interval = interval.or_value(Interval(DEFAULT_INTERVAL));
        let timeout = timeout.or_value(Timeout(DEFAULT_TIMEOUT));
        if let (Some(Interval(interval)), Some(Timeout(timeout))) = (interval, timeout)
            && timeout > interval
        {
            let [timeout, interval] = [timeout, interval].map(humantime::format_duration);
            here.key(slow).warning(Fault::new(
                format!("{which}{timeout} is longer than interval {interval}, and stretches it"),
                format!("set `timeout` to {interval} or less, or use a longer interval"),
            ));
        }
        Some(HealthCheck {
            probe: probe?,
            port: port.map(|PortNumber(port)| Some(port)).or_value(None)?,
            interval: interval?.0,
            timeout: timeout?.0,
            rise: rise.or_value(InARow(DEFAULT_RISE))?.0,
            fall: fall.or_value(InARow(DEFAULT_FALL))?.0,
            initial: initial.or_value(Initial::default())?,
        })
    }
}

/// The one of the probes that is given; `None`, too, when it is wrong.
fn only(here: &Here<'_>, probes: [Given<Probe>; 5]) -> Option<Probe> {
    let mut given = KINDS.iter().zip(probes).filter(|(_, probe)| !matches!(probe, Given::Absent));
    match (given.next(), given.next()) {
        (None, _) => {
            here.error_at_key(Fault::new(
                "the health check has no probe",
                "add one of tcp, http, udp, icmp and exec, such as `tcp: {}`",
            ));
            None
        }
        (Some((first, _)), Some((second, _))) => {
            let what = format!("`{second}` beside `{first}`: a health check has one probe");
            here.key(second).error_at_key(Fault::new(what, "keep one of them"));
            None
        }
        (Some((_, probe)), None) => probe.map(Some).or_value(None).flatten(),
    }
}

/// A mapping without keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl FromYaml for Nothing {
    const EXPECTED: &'static str = "`{}`";

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "object", "additionalProperties": false })
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mut mapping: A) -> Result<Option<Self>, A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = mapping.next_key_seed(Key)? {
            keys.admit(here, &key, &[], |key| {
                let fix = match nearest(key, BESIDE.iter().copied()) {
                    Some(meant) if meant != key => format!("did you mean `{meant}`, one level up?"),
                    Some(_) => "move it one level up".to_owned(),
                    None => "write `{}`".to_owned(),
                };
                Some(Fault::new(format!("{} in a probe that has no keys", quoted(key)), fix))
            });
            mapping.next_value::<serde::de::IgnoredAny>()?;
        }
        Ok(Some(Nothing))
    }
}

/// Keys of `health` that all kinds of probes share, so that they are not written in one.
const BESIDE: &[&str] = &["port", "interval", "timeout", "rise", "fall", "initial"];

fn beside(key: &str) -> Option<Fault> {
    BESIDE
        .contains(&key)
        .then(|| Fault::new(format!("{} is a key of `health`", quoted(key)), "move it one level up"))
}

mapping! {
    HttpMapping, "a mapping of http settings", refused: beside, required: [], {
        /// Path and query.
        path: HttpPath,
        /// The Host header, and the name that the certificate must have; without it the backend's address.
        host: Host,
        /// Statuses that are good, and ranges of them.
        expect: Many<Codes>,
        /// Text that the answer must hold.
        body: Needle,
        /// Whether to ask by HTTPS.
        tls: bool,
        /// Whether the certificate must be valid.
        verify: bool,
    }
}

impl FromYaml for HttpProbe {
    const EXPECTED: &'static str = "`{}` or a mapping of http settings";

    fn schema(definitions: &mut Definitions) -> Value {
        HttpMapping::schema(definitions)
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        Ok(HttpMapping::mapping(here, mapping)?.and_then(|mapping| mapping.probe(here)))
    }
}

impl HttpMapping {
    fn probe(self, here: &Here<'_>) -> Option<HttpProbe> {
        let HttpMapping { path, host, expect, body, tls, verify } = self;
        if let (Given::Good(true), Given::Absent | Given::Good(false)) = (&verify, &tls) {
            here.key("verify").error_at_key(Fault::new(
                "`verify` is of no use without `tls`",
                "add `tls: true`, or remove `verify`",
            ));
        }
        let expect = match expect {
            Given::Absent => vec![DEFAULT_EXPECT],
            Given::Bad => return None,
            Given::Good(Many(codes)) => codes
                .into_iter()
                .map(|codes| codes.map(|Codes(first, last)| (first, last)))
                .collect::<Option<_>>()?,
        };
        if expect.is_empty() {
            here.key("expect").error(Fault::new("no status is good", "write some, such as [200-399]"));
        }
        let host = host.map(|Host(host)| Some(host)).or_value(None)?;
        let tls = tls.or_value(false)?;
        let has_name = host.as_ref().is_some_and(|host| host.parse::<IpAddr>().is_err());
        Some(HttpProbe {
            path: path.or_value(HttpPath("/".to_owned()))?.0,
            host,
            expect,
            body: body.map(|Needle(text)| Some(text)).or_value(None)?,
            tls,
            verify: verify.or_value(tls && has_name)?,
        })
    }
}

mapping! {
    UdpMapping, "a mapping of `send` and `expect`", refused: beside, required: [], {
        /// What the datagram holds.
        send: Text,
        /// How the answer must begin; without it none is needed.
        expect: Text,
    }
}

impl FromYaml for UdpProbe {
    const EXPECTED: &'static str = "`{}` or a mapping of `send` and `expect`";

    fn schema(definitions: &mut Definitions) -> Value {
        UdpMapping::schema(definitions)
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let probe = |UdpMapping { send, expect }| {
            Some(UdpProbe {
                send: send.map(|Text(text)| text.into_bytes()).or_value(vec![])?,
                expect: expect.map(|Text(text)| Some(text.into_bytes())).or_value(None)?,
            })
        };
        Ok(UdpMapping::mapping(here, mapping)?.and_then(probe))
    }
}

mapping! {
    ExecMapping, "a mapping with `command`", refused: beside, required: [command], {
        /// A program by its absolute path, and its arguments: {address}, {port}, {service} and {backend} are filled in.
        command: Many<Word>,
    }
}

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Command(Vec<String>);

impl FromYaml for Command {
    const EXPECTED: &'static str = "a mapping with `command`";

    fn schema(definitions: &mut Definitions) -> Value {
        ExecMapping::schema(definitions)
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        const PROGRAM: &str = "name a program by its absolute path, such as [/usr/lib/sluice/check]";
        let Some(ExecMapping { command }) = ExecMapping::mapping(here, mapping)? else { return Ok(None) };
        let words = match command {
            Given::Bad => return Ok(None),
            Given::Absent => {
                here.error_at_key(Fault::new("the probe has no `command`", PROGRAM));
                return Ok(None);
            }
            Given::Good(Many(words)) => words,
        };
        let here = here.key("command");
        match words.first() {
            None => {
                here.error(Fault::new("the command is empty", PROGRAM));
                return Ok(None);
            }
            Some(Some(Word(program))) if !program.starts_with('/') => {
                let what = format!("{} is not an absolute path", quoted(program));
                here.index(0).error(Fault::new(what, PROGRAM));
            }
            Some(_) => {}
        }
        let words = words.into_iter().map(|word| word.map(|Word(word)| word)).collect::<Option<_>>();
        Ok(words.map(Command))
    }
}
