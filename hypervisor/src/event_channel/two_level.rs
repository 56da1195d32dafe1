//! The 2-level ABI: a pending bit and a mask bit per port in `shared_info`, and per vCPU a selector
//! with a bit for each word of pending bits. The guest may change all of them at any time, so no
//! value read from them is trusted.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::event_channel::two_level::NR_CHANNELS;
use abi::xen::{SharedInfo, VcpuInfo};

use super::ports::Raised;
use crate::domain::{Domain, Port, VcpuId};

/// The word with a port's bit, and the bit. `None` for ports beyond this ABI.
fn bit(domain: &Domain, array: usize, port: Port) -> Option<(&AtomicU64, u64)> {
    if port.get() >= NR_CHANNELS {
        return None;
    }
    let word = domain.shared_info().atomic_u64(array + port.word() as usize * size_of::<u64>());
    Some((word, 1 << port.bit()))
}

fn pending(domain: &Domain, port: Port) -> Option<(&AtomicU64, u64)> {
    bit(domain, offset_of!(SharedInfo, event_pending), port)
}

fn mask(domain: &Domain, port: Port) -> Option<(&AtomicU64, u64)> {
    bit(domain, offset_of!(SharedInfo, event_mask), port)
}

/// Sets a port's selector bit. Returns `true` if the vCPU must be notified.
fn select(domain: &Domain, port: Port, vcpu: VcpuId) -> bool {
    let Some(vcpu) = domain.vcpu(vcpu) else { return false };
    let info = vcpu.info();
    let selector = info.page.atomic_u64(info.offset + offset_of!(VcpuInfo, event_pending_selector));
    let bit = 1 << port.word();
    selector.fetch_or(bit, Ordering::SeqCst) & bit == 0
}

pub(super) fn set_pending(domain: &Domain, port: Port, vcpu: VcpuId) -> Raised {
    let (Some((word, bit)), Some((masks, _))) = (pending(domain, port), mask(domain, port)) else {
        return Raised::nothing(port);
    };
    if word.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
        return Raised::nothing(port);
    }
    let told = masks.load(Ordering::SeqCst) & bit == 0 && select(domain, port, vcpu);
    Raised { port, notify: told.then_some(vcpu), newly: true }
}

pub(super) fn unmask(domain: &Domain, port: Port, vcpu: VcpuId) -> Raised {
    let was_masked = mask(domain, port).is_some_and(|(word, bit)| word.fetch_and(!bit, Ordering::SeqCst) & bit != 0);
    let told = was_masked && is_pending(domain, port) && select(domain, port, vcpu);
    Raised { port, notify: told.then_some(vcpu), newly: false }
}

pub(super) fn clear_pending(domain: &Domain, port: Port) {
    if let Some((word, bit)) = pending(domain, port) {
        word.fetch_and(!bit, Ordering::SeqCst);
    }
}

pub(super) fn is_pending(domain: &Domain, port: Port) -> bool {
    pending(domain, port).is_some_and(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0)
}
