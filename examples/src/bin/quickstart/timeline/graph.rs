//! Where the steps of a plan stand to each other.

use super::model::{Step, StepState};

/// Gives a depth to each step from `first` on: one more than the deepest step on which it depends. A later round begins
/// behind all earlier ones, for it was planned when their steps had ended.
pub(super) fn place(steps: &mut [Step], first: usize) {
    let base = steps[..first].iter().map(|step| step.depth + 1).max().unwrap_or(0);
    let mut dependents = vec![Vec::new(); steps.len()];
    let mut missing = vec![0_usize; steps.len()];
    for (place, step) in steps.iter().enumerate().skip(first) {
        for &needed in step.after.iter().filter(|needed| **needed >= first) {
            dependents[needed].push(place);
            missing[place] += 1;
        }
    }
    steps[first..].iter_mut().for_each(|step| step.depth = base);
    let mut order: Vec<usize> = (first..steps.len()).filter(|&place| missing[place] == 0).collect();
    let mut next = 0;
    // A plan has no cycle, so every step comes to have nothing missing.
    while let Some(&place) = order.get(next) {
        next += 1;
        for &dependent in &dependents[place] {
            steps[dependent].depth = steps[dependent].depth.max(steps[place].depth + 1);
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
}

/// From when on the step at this place could begin, if nothing is known of it yet: the end of the last step that it
/// needs.
pub(super) fn ready(steps: &mut [Step], place: usize) {
    if steps[place].state == StepState::Pending {
        let ends = steps[place].after.iter().filter_map(|needed| steps[*needed].ended);
        let last = ends.max().unwrap_or_default();
        steps[place].ready = steps[place].ready.max(last);
    }
}
