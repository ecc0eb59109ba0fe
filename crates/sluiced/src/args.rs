//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use tracing::Level;

/// Layer-4 load balancer that programs the kernel's NAT: keeps nftables equal to one YAML file.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Args {
    /// Configuration file
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "SLUICE_CONFIG",
        default_value = sluice_config::DEFAULT_PATH
    )]
    pub config: PathBuf,

    /// Check the configuration, print all errors and exit
    #[arg(long)]
    pub check: bool,

    /// Format of the log on standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Lowest severity to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value_t = Level::INFO)]
    pub log_level: Level,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; structured entries when standard error is the journal
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

const EXIT_CODES: &str = "\
Signals: SIGHUP reloads the configuration; SIGTERM and SIGINT stop; SIGUSR2 stops and leaves everything in the kernel \
to the next daemon.
Exit codes: 0 ok, 1 failed, 2 usage, 69 the kernel lacks a feature, 77 CAP_NET_ADMIN is missing, 78 the \
configuration is bad.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_by_clap_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn log_level_by_name_is_parsed() {
        let args = Args::parse_from(["sluiced", "--log-level", "debug", "-c", "x.yaml"]);
        assert_eq!((args.log_level, args.config.to_str()), (Level::DEBUG, Some("x.yaml")));
        assert!(Args::try_parse_from(["sluiced", "--log-level", "loud"]).is_err());
    }
}
