//! Regression tests: the shortest histories of former faults of the daemon or of a model of it.

use crate::event::Answers::{self, Flaps, Hangs, Refuses};
use crate::event::Client::{Local, Outside};
use crate::event::Disk::{Gone, Well};
use crate::event::Edit::{Add, Fill, Of, Remove, Rename, Whole};
use crate::event::End::{HandOver, Kill, KillAtCommit, Stop};
use crate::event::Event::{
    BadFile, CommitFails, Flows, Foreign, ForwardingOff, Host, Leave, Load, Networks, Operator, Pass, Reload,
    Restart, StateDir,
};
use crate::event::Failure::NoMemory;
use crate::event::Foreign::AddRule;
use crate::event::Key::{
    Allow, BackendAddress, BackendName, BackendPort, Check, Deny, Enabled, Listen, Resets, ResetsDenied,
    SlowStart, Source, StartsDown, SwapBackends,
};
use crate::event::Verb::{Drain, Enable, Weight};
use crate::story;

#[test]
fn list_that_fills_its_set_when_one_address_changes_is_applied() {
    story(&[Reload(vec![Of(0, Deny(5))]), Reload(vec![Of(0, Deny(6))])]);
}

#[test]
fn services_that_fill_a_set_when_one_backend_moves_are_applied() {
    story(&[Reload(vec![Remove(0), Fill(256)]), Reload(vec![Of(0, BackendAddress(0, 3))])]);
}

#[test]
fn services_that_fill_a_set_when_others_take_their_place_are_replaced_in_one_round() {
    story(&[Restart(Stop, vec![Remove(1)]), Reload(vec![Fill(256)]), Reload(vec![Whole(2)])]);
}

#[test]
fn list_of_many_prefix_lengths_when_a_range_narrows_is_applied() {
    story(&[Reload(vec![Of(0, Deny(2))]), Reload(vec![Of(0, Deny(3))]), Reload(vec![Of(0, Deny(2))])]);
}

#[test]
fn network_that_is_renumbered_when_sources_depend_on_it_is_followed() {
    story(&[Reload(vec![Of(0, Source(1))]), Networks(1), Networks(0), Networks(5), Networks(4)]);
}

#[test]
fn wrong_check_when_it_is_corrected_lets_backends_serve() {
    story(&[Reload(vec![Of(0, Check(3))]), Reload(vec![Of(0, Check(1))])]);
}

#[test]
fn backend_that_is_down_when_its_address_is_replaced_serves() {
    story(&[
        Reload(vec![Of(0, BackendName(0, 0))]),
        Host(0, Refuses),
        Reload(vec![Of(0, BackendAddress(0, 3))]),
    ]);
}

#[test]
fn service_whose_backend_is_down_when_it_is_disabled_and_enabled_serves() {
    story(&[
        Host(0, Hangs),
        Reload(vec![Of(0, Enabled(false))]),
        Host(0, Answers::Well),
        Reload(vec![Of(0, Enabled(true))]),
    ]);
}

#[test]
fn drained_backend_when_its_service_is_renamed_stays_drained() {
    story(&[Operator(0, 0, Drain), Reload(vec![Rename(0, 1)])]);
}

#[test]
fn backend_that_is_down_when_it_is_renamed_stays_down() {
    story(&[Host(0, Refuses), Reload(vec![Of(0, BackendName(0, 2))])]);
}

#[test]
fn backends_when_they_swap_addresses_swap_their_health() {
    story(&[Host(0, Refuses), Reload(vec![Of(0, SwapBackends(0, 1))])]);
}

#[test]
fn healthy_backends_when_their_check_changes_stay_healthy() {
    story(&[Pass(3), Reload(vec![Of(0, Check(2))])]);
}

#[test]
fn healthy_backends_when_initial_becomes_down_serve_without_a_gap() {
    story(&[Reload(vec![Of(0, StartsDown(true))])]);
}

#[test]
fn backends_that_served_without_a_check_when_they_get_one_serve_without_a_gap() {
    story(&[Reload(vec![Of(0, StartsDown(true)), Of(0, Check(0))]), Reload(vec![Of(0, Check(4))])]);
}

#[test]
fn rule_that_somebody_appends_to_a_base_chain_when_it_is_removed_lets_nothing_pass() {
    story(&[Foreign(AddRule(51)), Foreign(AddRule(52)), Foreign(AddRule(32))]);
}

#[test]
fn enabled_backend_when_it_is_enabled_again_keeps_its_share() {
    story(&[Reload(vec![Of(0, SlowStart(1))]), Operator(0, 0, Enable)]);
}

#[test]
fn udp_sender_when_the_daemon_stops_is_no_longer_translated() {
    story(&[Reload(vec![Of(0, Listen(vec![2]))]), Flows(2, Outside(1)), Restart(Stop, vec![])]);
}

#[test]
fn udp_sender_from_before_the_rules_when_a_service_takes_it_goes_there() {
    story(&[
        Flows(2, Outside(1)),
        Flows(2, Local),
        Reload(vec![Of(0, Listen(vec![2]))]),
        Reload(vec![Of(0, Listen(vec![6]))]),
    ]);
}

#[test]
fn udp_sender_when_its_address_is_denied_ends() {
    story(&[Reload(vec![Of(0, Listen(vec![2]))]), Flows(2, Outside(66)), Reload(vec![Of(0, Deny(4))])]);
}

#[test]
fn connection_when_its_client_is_denied_is_reset_where_the_file_says_so() {
    let denied = |resets| {
        story(&[
            Flows(0, Outside(1)),
            Flows(0, Outside(66)),
            Flows(0, Local),
            Reload(vec![Of(0, Deny(4))]),
            Reload(vec![Of(0, ResetsDenied(resets))]),
        ]);
    };
    denied(true);
    denied(false);
}

#[test]
fn connection_when_its_client_is_denied_and_the_daemon_is_killed_at_the_commit_is_reset() {
    for after in [false, true] {
        story(&[
            Reload(vec![Of(0, ResetsDenied(true))]),
            Flows(0, Outside(66)),
            Restart(KillAtCommit(0, after), vec![]),
            Reload(vec![Of(0, Deny(4))]),
        ]);
    }
}

#[test]
fn connections_of_a_service_when_a_wildcard_that_shares_the_backend_resets_its_own_stay() {
    story(&[
        Reload(vec![Add(1, 5)]),
        Flows(0, Outside(1)),
        Flows(0, Outside(2)),
        Reload(vec![Of(1, Resets(true)), Of(1, Check(3))]),
    ]);
}

#[test]
fn refresh_when_a_backend_flaps_all_the_time_takes_place() {
    story(&[Host(0, Flaps), Pass(400)]);
}

#[test]
fn forwarding_that_is_switched_off_when_a_backend_flaps_is_repaired() {
    story(&[Host(0, Flaps), ForwardingOff(false), Pass(70)]);
}

#[test]
fn state_directory_that_cannot_be_used_when_the_daemon_starts_does_not_matter() {
    story(&[StateDir(Gone), Restart(Kill, vec![]), Operator(0, 0, Drain)]);
}

#[test]
fn state_that_could_not_be_saved_when_it_can_be_again_is_saved() {
    story(&[
        StateDir(Gone),
        Operator(0, 0, Drain),
        StateDir(Well),
        Pass(70),
        Restart(Kill, vec![]),
        Restart(HandOver, vec![]),
    ]);
}

#[test]
fn override_that_could_not_be_saved_when_the_daemon_stops_is_saved_then() {
    story(&[StateDir(Gone), Operator(0, 0, Weight(2)), StateDir(Well), Restart(Stop, vec![])]);
}

#[test]
fn start_when_a_commit_fails_is_tried_again() {
    story(&[CommitFails(0, NoMemory, false), Host(0, Refuses), BadFile, Operator(0, 1, Weight(256))]);
}

#[test]
fn backend_that_is_renamed_while_no_daemon_runs_stays_drained_and_down() {
    story(&[
        Host(0, Refuses),
        Operator(0, 0, Drain),
        Operator(0, 1, Weight(2)),
        Restart(Kill, vec![Of(0, BackendName(0, 1)), Of(0, BackendName(1, 2))]),
        Restart(Stop, vec![Rename(0, 1)]),
        Host(0, Answers::Well),
        Operator(0, 0, Enable),
    ]);
}

#[test]
fn udp_senders_of_a_backend_that_is_down_when_the_daemon_is_killed_end() {
    story(&[
        Reload(vec![Add(1, 8)]),
        Host(2, Hangs),
        Load(0, 5, 5),
        Reload(vec![Of(3, Check(3))]),
        Restart(Kill, vec![Of(0, Allow(4))]),
    ]);
}

#[test]
fn udp_sender_of_a_drained_backend_when_its_service_is_removed_while_no_daemon_runs_ends() {
    story(&[Reload(vec![Whole(6)]), Load(0, 4, 1), Operator(5, 0, Drain), Restart(Kill, vec![Remove(3)])]);
}

#[test]
fn flow_when_a_daemon_is_killed_before_it_looks_at_flows_is_looked_at_by_the_next() {
    story(&[
        Reload(vec![Of(1, Listen(vec![4, 5]))]),
        Restart(KillAtCommit(1, true), vec![]),
        Load(0, 5, 20),
        Reload(vec![Of(3, BackendPort(3, 1))]),
    ]);
    story(&[
        Reload(vec![Add(5, 2)]),
        Flows(2, Outside(66)),
        Restart(KillAtCommit(1, true), vec![Of(4, Listen(vec![8, 0, 2]))]),
        Reload(vec![Of(3, BackendPort(3, 5))]),
    ]);
}

#[test]
fn connection_that_a_new_backend_leads_when_its_client_is_refused_is_reset() {
    story(&[
        Load(4, 5, 1),
        Reload(vec![Remove(2)]),
        Reload(vec![Add(3, 0)]),
        Reload(vec![Of(0, ResetsDenied(true))]),
        Restart(Stop, vec![Of(4, Allow(4))]),
        Reload(vec![Of(1, BackendAddress(2, 1))]),
    ]);
}

#[test]
fn node_that_joined_because_its_state_could_not_be_read_does_not_leave_at_a_later_start() {
    story(&[
        Leave,
        StateDir(Gone),
        Restart(Kill, vec![]),
        StateDir(Well),
        Pass(400),
        Restart(Kill, vec![Rename(3, 1)]),
    ]);
}
