//! The key `health`: one probe, with its timing and thresholds.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::de::MapAccess;
use serde_json::{Value, json};
use sluice_core::model::{ExecProbe, HealthCheck, HttpProbe, Initial, Probe, UdpProbe};

use crate::mapping::{Key, Keys, mapping};
use crate::problem::{Fault, nearest, quoted};
use crate::read::{FromYaml, Given, Many, Scalar};
use crate::schema::{Definitions, constant, either};
use crate::values::{Argument, BodyText, DatagramText, HttpHost, HttpPath, StatusRange};
use crate::values::{Interval, PortNumber, Threshold, Timeout};
use crate::yaml_path::Here;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_RISE: u16 = 2;
const DEFAULT_FALL: u16 = 3;
const DEFAULT_EXPECT: (u16, u16) = (200, 399);

/// `health`; `None` is `none`, which overrides a check in `defaults`. Services without a check of their own share that
/// of `defaults`.
#[derive(Clone, Debug)]
pub(crate) struct HealthSetting(pub(crate) Option<Arc<HealthCheck>>);

impl FromYaml for HealthSetting {
    const EXPECTED: &'static str = "a health check such as `{ tcp: {} }`";

    fn schema(definitions: &mut Definitions) -> Value {
        let one_of: Vec<_> = KINDS.iter().map(|kind| json!({ "required": [kind] })).collect();
        let mapping = json!({ "allOf": [HealthMapping::schema(definitions), { "oneOf": one_of }] });
        either(constant("none", &format!("{}, or none", Self::EXPECTED)), mapping)
    }

    fn scalar(here: &Here<'_>, scalar: Scalar<'_>) -> Option<Self> {
        let fix = match scalar {
            Scalar::Text("none") => return Some(HealthSetting(None)),
            Scalar::Text(kind) if KINDS.contains(&kind) => format!("write `{{ {kind}: {{}} }}`"),
            _ => "write a check, such as `{ tcp: {} }`, or `none`".to_owned(),
        };
        here.error(Fault::new(format!("invalid health check {scalar}"), fix));
        None
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        let check = HealthMapping::mapping(here, mapping)?.and_then(|mapping| mapping.check(here));
        Ok(check.map(|check| HealthSetting(Some(Arc::new(check)))))
    }
}

const KINDS: &[&str] = &["tcp", "http", "udp", "sctp", "icmp", "exec"];

mapping! {
    HealthMapping, "a health check", refused: |_| None, required: [], {
        /// Succeeds when a connection is accepted.
        tcp: EmptyMapping,
        /// Succeeds when a GET gets the expected response.
        http: HttpProbe,
        /// Succeeds when a datagram is answered, or at least not refused.
        udp: UdpProbe,
        /// Succeeds when an SCTP association is accepted.
        sctp: EmptyMapping,
        /// Succeeds when an echo request is answered.
        icmp: EmptyMapping,
        /// Succeeds when a program exits with 0.
        exec: ExecProbe,
        /// The port to probe; by default that of the backend.
        port: PortNumber,
        /// The time from the start of one attempt to the start of the next.
        interval: Interval,
        /// The time limit of an attempt.
        timeout: Timeout,
        /// The number of consecutive successes that make a backend healthy.
        rise: Threshold,
        /// The number of consecutive failures that make a backend unhealthy.
        fall: Threshold,
        /// The state before the first result.
        initial: Initial,
    }
}

impl HealthMapping {
    /// `None` if there was an error.
    fn check(self, here: &Here<'_>) -> Option<HealthCheck> {
        let HealthMapping { tcp, http, udp, sctp, icmp, exec, port, interval, timeout, rise, fall, initial } =
            self;
        let probe = only(
            here,
            [
                tcp.map(|EmptyMapping| Probe::Tcp),
                http.map(Probe::Http),
                udp.map(Probe::Udp),
                sctp.map(|EmptyMapping| Probe::Sctp),
                icmp.map(|EmptyMapping| Probe::Icmp),
                exec.map(Probe::Exec),
            ],
        );
        if let (Some(Probe::Icmp), Given::Good(_)) = (&probe, &port) {
            here.key("port").error_at_key(Fault::new(
                "`port` cannot be used with `icmp`, which has no ports",
                "remove `port`",
            ));
        }
        let interval = interval.or_value(Interval(DEFAULT_INTERVAL));
        let default_timeout = interval.map_or(DEFAULT_TIMEOUT, |Interval(it)| it.min(DEFAULT_TIMEOUT));
        let timeout = timeout.or_value(Timeout(default_timeout));
        if let (Some(Interval(interval)), Some(Timeout(timeout))) = (interval, timeout)
            && timeout > interval
        {
            let [timeout, interval] = [timeout, interval].map(humantime::format_duration);
            here.key("timeout").warning(Fault::new(
                format!("timeout {timeout} is longer than interval {interval} and delays the next attempt"),
                format!("set `timeout` to {interval} or less, or use a longer interval"),
            ));
        }
        Some(HealthCheck {
            probe: probe?,
            port: port.map(|PortNumber(port)| Some(port)).or_value(None)?,
            interval: interval?.0,
            timeout: timeout?.0,
            rise: rise.or_value(Threshold(DEFAULT_RISE))?.0,
            fall: fall.or_value(Threshold(DEFAULT_FALL))?.0,
            initial: initial.or_value(Initial::default())?,
        })
    }
}

/// The only probe that is set; `None` if there is none, several, or an invalid one.
fn only(here: &Here<'_>, probes: [Given<Probe>; 6]) -> Option<Probe> {
    let mut given = KINDS.iter().zip(probes).filter(|(_, probe)| !matches!(probe, Given::Absent));
    match (given.next(), given.next()) {
        (None, _) => {
            here.error_at_key(Fault::new(
                "the health check has no probe",
                format!("add one of {}, such as `tcp: {{}}`", KINDS.join(", ")),
            ));
            None
        }
        (Some((first, _)), Some((second, _))) => {
            let what = format!("`{first}` and `{second}` are both set; a health check has one probe");
            here.key(second).error_at_key(Fault::new(what, "keep one of them"));
            None
        }
        (Some((_, probe)), None) => probe.map(Some).or_value(None).flatten(),
    }
}

/// A mapping that must be empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmptyMapping;

impl FromYaml for EmptyMapping {
    const EXPECTED: &'static str = "`{}`";

    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "object", "additionalProperties": false })
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mut mapping: A) -> Result<Option<Self>, A::Error> {
        let mut keys = Keys::default();
        while let Some(key) = mapping.next_key_seed(Key)? {
            keys.admit(here, &key, &[], |key| {
                let fix = match nearest(key, SHARED_KEYS.iter().copied()) {
                    Some(meant) if meant != key => format!("did you mean `{meant}`, one level up?"),
                    Some(_) => "move it one level up".to_owned(),
                    None => "write `{}`".to_owned(),
                };
                Some(Fault::new(format!("unknown key {}: this probe has no options", quoted(key)), fix))
            });
            mapping.next_value::<serde::de::IgnoredAny>()?;
        }
        Ok(Some(EmptyMapping))
    }
}

/// Keys of `health` itself, which users write inside a probe by mistake.
const SHARED_KEYS: &[&str] = &["port", "interval", "timeout", "rise", "fall", "initial"];

fn shared_key(key: &str) -> Option<Fault> {
    SHARED_KEYS
        .contains(&key)
        .then(|| Fault::new(format!("{} belongs to `health`", quoted(key)), "move it one level up"))
}

mapping! {
    HttpMapping, "a mapping of http settings", refused: shared_key, required: [], {
        /// Path and query.
        path: HttpPath,
        /// The Host header, and the name to verify in the certificate; by default the address of the backend.
        host: HttpHost,
        /// Statuses that count as success, and ranges of them.
        expect: Many<StatusRange>,
        /// Text that the body must contain.
        body: BodyText,
        /// Whether to use HTTPS.
        tls: bool,
        /// Whether to verify the certificate.
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
            here.key("verify")
                .error_at_key(Fault::new("`verify` requires `tls`", "add `tls: true`, or remove `verify`"));
        }
        let expect = match expect {
            Given::Absent => vec![DEFAULT_EXPECT],
            Given::Bad => return None,
            Given::Good(Many(codes)) => codes
                .into_iter()
                .map(|codes| codes.map(|StatusRange(first, last)| (first, last)))
                .collect::<Option<_>>()?,
        };
        if expect.is_empty() {
            here.key("expect")
                .error(Fault::new("the list of statuses is empty", "add some, such as [200-399]"));
        }
        let host = host.map(|HttpHost(host)| Some(host)).or_value(None)?;
        let tls = tls.or_value(false)?;
        let has_name = host.as_ref().is_some_and(|host| host.parse::<IpAddr>().is_err());
        Some(HttpProbe {
            path: path.or_value(HttpPath("/".to_owned()))?.0,
            host,
            expect,
            body: body.map(|BodyText(text)| Some(text)).or_value(None)?,
            tls,
            verify: verify.or_value(tls && has_name)?,
        })
    }
}

mapping! {
    UdpMapping, "a mapping of `send` and `expect`", refused: shared_key, required: [], {
        /// The payload of the datagram.
        send: DatagramText,
        /// The prefix that the reply must have; by default no reply is needed.
        expect: DatagramText,
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
                send: send.map(|DatagramText(text)| text.into_bytes()).or_value(vec![])?,
                expect: expect.map(|DatagramText(text)| Some(text.into_bytes())).or_value(None)?,
            })
        };
        Ok(UdpMapping::mapping(here, mapping)?.and_then(probe))
    }
}

mapping! {
    ExecMapping, "a mapping with `command`", refused: shared_key, required: [command], {
        /// The absolute path of a program, and its arguments; {address}, {port}, {service} and {backend} are replaced.
        command: Many<Argument>,
        /// Whether the program keeps the capabilities of a daemon that root runs.
        keep_capabilities: bool,
    }
}

impl FromYaml for ExecProbe {
    const EXPECTED: &'static str = "a mapping with `command`";

    fn schema(definitions: &mut Definitions) -> Value {
        ExecMapping::schema(definitions)
    }

    fn mapping<'de, A: MapAccess<'de>>(here: &Here<'_>, mapping: A) -> Result<Option<Self>, A::Error> {
        const PROGRAM: &str = "write the absolute path of a program, such as [/usr/lib/sluice/check]";
        let Some(ExecMapping { command, keep_capabilities }) = ExecMapping::mapping(here, mapping)? else {
            return Ok(None);
        };
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
            Some(Some(Argument(program))) if !program.starts_with('/') => {
                let what = format!("program {} is not an absolute path", quoted(program));
                here.index(0).error(Fault::new(what, PROGRAM));
            }
            Some(_) => {}
        }
        let command = words.into_iter().map(|word| word.map(|Argument(word)| word)).collect::<Option<_>>();
        let keep_capabilities = keep_capabilities.or_value(false);
        let program = command.zip(keep_capabilities);
        Ok(program.map(|(command, keep_capabilities)| ExecProbe { command, keep_capabilities }))
    }
}
