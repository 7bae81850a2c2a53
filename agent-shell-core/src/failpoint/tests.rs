use std::collections::BTreeSet;

use super::Failpoint;

#[test]
fn every_failpoint_has_a_name_of_its_own_and_is_found_by_it() {
    let names: BTreeSet<&str> = Failpoint::ALL.iter().map(|point| point.name()).collect();
    assert_eq!(names.len(), Failpoint::ALL.len());
    for point in Failpoint::ALL {
        assert_eq!(point.to_string().parse(), Ok(*point));
    }
    assert!("append.begin".parse::<Failpoint>().is_err(), "a misspelt name is refused");
}

#[cfg(feature = "failpoints")]
#[test]
fn an_armed_failpoint_acts_at_its_time_and_once() {
    use std::time::{Duration, Instant};

    use super::{Action, Arm, arm, hits, reached};

    // Failpoints are process-wide: a place that no other test of this crate reaches, because none shuts a shell down.
    let at = Failpoint::ResignEnds;
    let long = Duration::from_millis(40);
    arm(Arm { at, nth: 2, action: Action::Delay(long) });
    let took = || {
        #[allow(clippy::disallowed_methods)]
        let begun = Instant::now();
        reached(at);
        begun.elapsed()
    };
    let times = [took(), took(), took()];
    assert!(times[0] < long && times[1] >= long && times[2] < long, "{times:?}");
    let counted = hits().find(|(point, _)| *point == at).map(|(_, hits)| hits);
    assert!(counted >= Some(3), "{counted:?}");
}
