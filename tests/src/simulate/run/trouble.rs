//! What befalls processes, and the bus, between two polls.

use std::time::Duration;

use agent_shell_core::simulation::Group;
use agent_shell_core::words::Entropy;

use super::Run;
use crate::simulate::coverage::WorldFault;

impl Run {
    /// What may befall a process after a poll.
    pub(super) fn trouble(&mut self, group: Group) {
        let Some(&index) = self.by_group.get(&group) else { return };
        let bus_crash = self.truth.settings().polls_per_bus_crash;
        if let Some(bus) = &self.bus
            && bus_crash > 0
            && self.entropy.below(bus_crash) == 0
        {
            bus.crash(&self.entropy);
        }
        let settings = self.truth.settings();
        let (crash, pause, cut) =
            (settings.polls_per_crash, settings.polls_per_pause, settings.polls_per_cut);
        let (lease_ms, clocks_jump) = (settings.limits.lease_ms, settings.clocks_jump);
        if crash > 0 && self.entropy.below(crash) == 0 {
            self.truth.count(WorldFault::Crash);
            self.dies(group, "between two polls");
        } else if pause > 0 && self.entropy.below(pause) == 0 {
            let ms = self.entropy.below(lease_ms * 5 / 2);
            let fault = if ms > lease_ms { WorldFault::LongPause } else { WorldFault::Pause };
            self.truth.count(fault);
            self.truth.tell(|| format!("process {index} stands still for {ms} ms"));
            self.executor.pause(group, self.time.now() + Duration::from_millis(ms));
        } else if cut > 0 && self.entropy.below(cut) == 0 {
            let lasts = Duration::from_millis(self.entropy.below(lease_ms * 2));
            self.cut_off(index, lasts);
        } else if clocks_jump && self.entropy.below(250) == 0 {
            self.jump(index);
        }
    }

    fn cut_off(&mut self, index: usize, lasts: Duration) {
        let Some(life) = &mut self.processes[index].life else { return };
        self.truth.count(WorldFault::CutOff);
        self.truth.tell(|| format!("process {index} is cut off for {lasts:?}"));
        life.faults.cut_off(true);
        life.cut_until = Some(self.time.now() + lasts);
        let end = self.time.sleep(lasts);
        self.executor.spawn(self.server, end);
    }

    fn jump(&mut self, index: usize) {
        let longest = [200, 2_000, 20_000][self.entropy.below(3) as usize];
        let ms = 1 + self.entropy.below(longest) as i64;
        // A clock that is far off comes back.
        let off_ms = self.processes[index].life.as_ref().map_or(0, |life| life.off_ms);
        let forward = off_ms < -20_000 || (off_ms < 20_000 && self.entropy.below(2) == 0);
        self.truth.count(if forward { WorldFault::WallForward } else { WorldFault::WallBack });
        let by = if forward { ms } else { -ms };
        self.truth.tell(|| format!("the wall clock of process {index} jumps by {by} ms"));
        if let Some(life) = &mut self.processes[index].life {
            life.off_ms += by;
            life.clock.jump_ms(by);
        }
    }
}
