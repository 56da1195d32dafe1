//! The debug key that shows the run queues.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use machine::addr::CpuId;

use super::cores;
use super::cpu::{idle_time, online, queue};
use crate::domain::Vcpu;

/// One line per pCPU: the vCPU that it runs and those that wait.
pub(crate) fn describe() -> impl Iterator<Item = String> {
    online().iter().map(line)
}

fn line(cpu: CpuId) -> String {
    let queue = queue(cpu);
    let idle = if cores::is_forced_idle(cpu) { "forced idle" } else { "idle" };
    let running = queue.current.as_ref().map_or_else(|| String::from(idle), |vcpu| format!("runs {}", name(vcpu)));
    let names = |vcpus: &mut dyn Iterator<Item = &Arc<Vcpu>>| vcpus.map(name).collect::<Vec<_>>().join(" ");
    let waiting = names(&mut queue.run.iter());
    let aside = names(&mut queue.aside.iter().map(|(_, vcpu)| vcpu));
    format!(
        "p{}: {running}, waiting: [{waiting}], at their cap: [{aside}], idle for {} ms",
        cpu.index(),
        idle_time(cpu) / 1_000_000
    )
}

fn name(vcpu: &Arc<Vcpu>) -> String {
    let domain = vcpu.domain().map_or_else(|| String::from("d?"), |domain| format!("d{}", domain.id().0));
    format!("{domain}v{}", vcpu.id().get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::VcpuId;
    use crate::testing::Guest;

    #[test]
    fn a_run_queue_is_shown_with_those_that_wait() {
        let guest = Guest::new(1, 2);
        let cpu = machine::cpu::current();
        let vcpu = guest.domain.vcpu(VcpuId::new(1)).expect("a vCPU");
        queue(cpu).run.admit(0, Arc::clone(vcpu));
        assert!(line(cpu).starts_with("p0: idle, waiting: [d1v1], at their cap: []"), "{}", line(cpu));
        let waiting = queue(cpu).run.next();
        drop(waiting);
    }
}
