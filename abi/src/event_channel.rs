//! `event_channel.h`: operations of `event_channel_op`, and the layouts of both ABIs. Ports are
//! plain numbers here.

use crate::layout::{constants, structs};
use crate::xen::DomainId;

constants! {
    header "xen/event_channel.h";

    /// Sub-operations.
    pub mod op: u32 {
        BIND_INTERDOMAIN = 0, "EVTCHNOP_bind_interdomain";
        BIND_VIRQ = 1, "EVTCHNOP_bind_virq";
        BIND_PIRQ = 2, "EVTCHNOP_bind_pirq";
        CLOSE = 3, "EVTCHNOP_close";
        SEND = 4, "EVTCHNOP_send";
        STATUS = 5, "EVTCHNOP_status";
        ALLOC_UNBOUND = 6, "EVTCHNOP_alloc_unbound";
        BIND_IPI = 7, "EVTCHNOP_bind_ipi";
        BIND_VCPU = 8, "EVTCHNOP_bind_vcpu";
        UNMASK = 9, "EVTCHNOP_unmask";
        RESET = 10, "EVTCHNOP_reset";
        INIT_CONTROL = 11, "EVTCHNOP_init_control";
        EXPAND_ARRAY = 12, "EVTCHNOP_expand_array";
        SET_PRIORITY = 13, "EVTCHNOP_set_priority";
    }

    /// Values of [`Status::status`].
    pub mod status: u32 {
        CLOSED = 0, "EVTCHNSTAT_closed";
        UNBOUND = 1, "EVTCHNSTAT_unbound";
        INTERDOMAIN = 2, "EVTCHNSTAT_interdomain";
        PIRQ = 3, "EVTCHNSTAT_pirq";
        VIRQ = 4, "EVTCHNSTAT_virq";
        IPI = 5, "EVTCHNSTAT_ipi";
    }

    /// Bits of [`BindPirq::flags`].
    pub mod bind_pirq: u32 {
        WILL_SHARE = 1, "BIND_PIRQ__WILL_SHARE";
    }

    /// The 2-level ABI.
    pub mod two_level: u32 {
        NR_CHANNELS = 4096, "EVTCHN_2L_NR_CHANNELS";
    }

    /// The FIFO ABI: priorities, bit numbers of an event word, sizes.
    pub mod fifo: u32 {
        PRIORITY_MAX = 0, "EVTCHN_FIFO_PRIORITY_MAX";
        PRIORITY_DEFAULT = 7, "EVTCHN_FIFO_PRIORITY_DEFAULT";
        PRIORITY_MIN = 15, "EVTCHN_FIFO_PRIORITY_MIN";
        MAX_QUEUES = 16, "EVTCHN_FIFO_MAX_QUEUES";
        PENDING = 31, "EVTCHN_FIFO_PENDING";
        MASKED = 30, "EVTCHN_FIFO_MASKED";
        LINKED = 29, "EVTCHN_FIFO_LINKED";
        BUSY = 28, "EVTCHN_FIFO_BUSY";
        LINK_BITS = 17, "EVTCHN_FIFO_LINK_BITS";
        LINK_MASK = 131071, "EVTCHN_FIFO_LINK_MASK";
        NR_CHANNELS = 131072, "EVTCHN_FIFO_NR_CHANNELS";
    }
}

structs! {
    header "xen/event_channel.h";

    /// `alloc_unbound`: `domain` gets a port that `remote_domain` may bind to.
    pub struct AllocUnbound = "struct evtchn_alloc_unbound" [8] {
        [0] domain: DomainId = "dom",
        [2] remote_domain: DomainId = "remote_dom",
        /// Out.
        [4] port: u32,
    }

    /// `bind_interdomain`: connects to an unbound port of another domain.
    pub struct BindInterdomain = "struct evtchn_bind_interdomain" [12] {
        [0] remote_domain: DomainId = "remote_dom",
        [2] _pad: u16,
        [4] remote_port: u32,
        /// Out.
        [8] local_port: u32,
    }

    /// `bind_virq`.
    pub struct BindVirq = "struct evtchn_bind_virq" [12] {
        [0] virq: u32,
        [4] vcpu: u32,
        /// Out.
        [8] port: u32,
    }

    /// `bind_pirq`.
    pub struct BindPirq = "struct evtchn_bind_pirq" [12] {
        [0] pirq: u32,
        /// Bits of [`bind_pirq`].
        [4] flags: u32,
        /// Out.
        [8] port: u32,
    }

    /// `bind_ipi`.
    pub struct BindIpi = "struct evtchn_bind_ipi" [8] {
        [0] vcpu: u32,
        /// Out.
        [4] port: u32,
    }

    /// `close`.
    pub struct Close = "struct evtchn_close" [4] {
        [0] port: u32,
    }

    /// `send`.
    pub struct Send = "struct evtchn_send" [4] {
        [0] port: u32,
    }

    /// `status`.
    pub struct Status = "struct evtchn_status" [24] {
        [0] domain: DomainId = "dom",
        [2] _pad: u16,
        [4] port: u32,
        /// Out: one of [`status`].
        [8] status: u32,
        /// Out: the vCPU that is notified.
        [12] vcpu: u32,
        /// Out: the PIRQ, the VIRQ, or (low 16 bits, high bits zero) the remote domain.
        [16] bound_to: u32 = "u.pirq",
        /// Out: the port of the other end, if interdomain.
        [20] remote_port: u32 = "u.interdomain.port",
    }

    /// `bind_vcpu`: selects the vCPU that is notified.
    pub struct BindVcpu = "struct evtchn_bind_vcpu" [8] {
        [0] port: u32,
        [4] vcpu: u32,
    }

    /// `unmask`.
    pub struct Unmask = "struct evtchn_unmask" [4] {
        [0] port: u32,
    }

    /// `reset`: closes all ports of a domain.
    pub struct Reset = "struct evtchn_reset" [2] {
        [0] domain: DomainId = "dom",
    }

    /// `init_control`: sets a vCPU's control block of the FIFO ABI.
    pub struct InitControl = "struct evtchn_init_control" [24] {
        [0] control_gfn: u64,
        [8] offset: u32,
        [12] vcpu: u32,
        /// Out.
        [16] link_bits: u8,
        [17] _pad: [u8; 7],
    }

    /// `expand_array`: adds a page of event words to the FIFO ABI.
    pub struct ExpandArray = "struct evtchn_expand_array" [8] {
        [0] array_gfn: u64,
    }

    /// `set_priority`.
    pub struct SetPriority = "struct evtchn_set_priority" [8] {
        [0] port: u32,
        [4] priority: u32,
    }

    /// A vCPU's control block of the FIFO ABI, in guest memory.
    pub struct FifoControlBlock = "struct evtchn_fifo_control_block" [72] {
        /// Bit mask of queues with events.
        [0] ready: u32,
        [4] _pad: u32,
        /// First port of each queue.
        [8] heads: [u32; 16] = "head",
    }
}
