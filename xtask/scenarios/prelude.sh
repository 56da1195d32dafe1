# Prepended to each step of every scenario. Guests have a shell on their console, which xenconsoled
# also writes to a file.
here=/run/xtask
trap 'test $? = 0 || dmesg | tail -n 3' EXIT
consoles=/var/log/xen/console

# config NAME [LINE...]: writes a guest's configuration; the lines override the defaults. The TSC is
# native, because Xen would emulate it on a processor without an invariant TSC, such as the emulated
# one, and be slow in comparisons.
config() {
    file=/tmp/$1.cfg
    {
        echo "name = '$1'"
        echo "kernel = '$here/vmlinuz'"
        echo "ramdisk = '$here/guest.ramdisk'"
        echo "memory = 160"
        echo "vcpus = 1"
        echo "tsc_mode = 'native'"
        echo "extra = 'console=hvc0'"
    } > "$file"
    shift
    for line in "$@"; do
        echo "$line" >> "$file"
    done
}

# small NAME [LINE...]: writes the configuration of a small guest, with a stock kernel that
# decompresses quickly and frees what it can; for scenarios whose machine has that kernel.
small() {
    name=$1
    shift
    config "$name" "kernel = '$here/vmlinuz-small'" "memory = 96" \
        "extra = 'console=hvc0 initcall_blacklist=tracer_init_tracefs initramfs_async=0'" "$@"
}

# soon COMMAND...: repeats it until it succeeds.
soon() {
    until "$@" > /tmp/soon 2>&1; do
        sleep 0.2
    done
    cat /tmp/soon
}

fails() {
    if "$@"; then
        echo "should have failed: $*"
        exit 1
    fi
}

# state NAME: prints its state in xl list, for example r----- or --p---.
state() {
    xl list "$1" | tail -n 1 | sed 's/ *$//' | awk '{ print $5 }'
}

# create NAME: creates it from its configuration, with a new console file.
create() {
    rm -f "$consoles/guest-$1.log"
    xl create "/tmp/$1.cfg"
}

# up NAME: waits until its shell has started.
up() {
    soon grep -q '@run ready' "$consoles/guest-$1.log"
}

# terminal NAME: prints the control domain's end of its console.
terminal() {
    xenstore-read "/local/domain/$(xl domid "$1")/console/tty"
}

answered() {
    tail -c "+$1" "$consoles/guest-$2.log" | tr -d '\r' | grep '^=42=[0-9]*=$'
}

# ask NAME COMMAND: runs it in the guest's shell and prints its output. The status is that of the
# first part that failed.
ask() {
    from=$(($(stat -L -c %s "$consoles/guest-$1.log") + 1))
    printf '(set -e\n%s\n); status=$?; echo; echo =$((6*7))=$status=\n' "$2" > "$(terminal "$1")"
    soon answered "$from" "$1" > /tmp/answer
    tail -c "+$from" "$consoles/guest-$1.log" | tr -d '\r' | sed '/=42=/,$d'
    return "$(tr -d '\n' < /tmp/answer | sed 's/^=42=\([0-9]*\)=.*/\1/')"
}

gone() {
    ! xl domid "$1" > /dev/null 2>&1
}

# nothing_left: checks that no guest is left, and nothing of one.
nothing_left() {
    soon sh -c 'test "$(xl list | grep -c .)" = 2'
    test "$(xenstore-ls /local/domain | grep -c '^[0-9]* = ""')" = 1
    test -z "$(ls /sys/class/net/xenbr0/brif | grep -v '^eth0$')"
    # On a busy host xl ends its scripts after ten seconds, which leaves a loop device.
    grep -q 'because of timeout' /var/log/xen/xl-*.log || soon sh -c 'test -z "$(losetup -a)"'
}

is_paravane() {
    xl info | grep -q '^xen_changeset *: paravane'
}

# free_memory: prints the hypervisor's free memory in MiB.
free_memory() {
    xl info | sed -n 's/^free_memory *: //p'
}

# device_scripts: writes /tmp/block, for disks that are block devices, and /tmp/vif. They do what
# Debian's scripts do without the checks, which take most of the time when there are many devices.
device_scripts() {
    cat > /tmp/block << 'END'
#!/run/xtask/busybox sh
test "$1" = add || exit 0
device=$(/run/xtask/busybox stat -c %t:%T "$(xenstore-read "$XENBUS_PATH/params")")
xenstore-write "$XENBUS_PATH/physical-device" "$device" "$XENBUS_PATH/hotplug-status" connected
END
    cat > /tmp/vif << 'END'
#!/run/xtask/busybox sh
test "$1" = online || exit 0
/run/xtask/busybox ip link set "$vif" master xenbr0 up
xenstore-write "$XENBUS_PATH/hotplug-status" connected
END
    chmod +x /tmp/block /tmp/vif
}

# holdings: prints what is in use by the hypervisor's own counters; Xen reports less. The log is
# kept in /tmp/log.
holdings() {
    echo "event channels of the control domain: $(/usr/lib/xen-4.17/bin/lsevtchn 0 | grep -c VCPU)"
    echo "free memory: $(free_memory) MiB"
    if is_paravane; then
        xl dmesg -c >> /tmp/log
        xl debug-keys m
        xl dmesg | sed -n 's/^(pv) //; /frames free$/p; /grants mapped$/p'
    fi
}

# nothing_refused: checks that no hypercall was refused at a limit, and that the control domain's
# kernel does not complain about grants and event channels.
nothing_refused() {
    xl dmesg -c >> /tmp/log
    fails grep 'refused at a limit' /tmp/log
    fails sh -c "dmesg | grep -iE 'gnttab|grant|event channel|evtchn' | grep -iE 'fail|error|no space|limit'"
}
