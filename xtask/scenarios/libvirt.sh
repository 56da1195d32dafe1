# libvirt's own tools and its driver for Xen.
export LIBVIRT_DEFAULT_URI=xen:///system

#: the daemon
# It serves requests as soon as it answers one. Its QEMU driver wants a user that another Debian
# package creates.
useradd --system libvirt-qemu
mkdir -p /var/log/libvirt
virtlogd -d
libvirtd -d
soon virsh version
virsh nodeinfo
virsh list --all | grep -q 'Domain-0 *running'

#: define
config web "vif = ['bridge=xenbr0']"
virsh domxml-from-native xen-xl /tmp/web.cfg > /tmp/web.xml
cat /tmp/web.xml
virsh define /tmp/web.xml
virsh list --all | grep -q 'web *shut off'
gone web

#: start
virsh start web
virsh domstate web | grep -q running
virsh dominfo web
xl list web
up web

#: domid, vcpuinfo, dommemstat
test "$(virsh domid web)" = "$(xl domid web)"
virsh vcpuinfo web | grep -q 'State: *\(running\|blocked\)'
virsh dumpxml web | grep -q "<interface type='bridge'>"

#: suspend, resume
virsh suspend web
virsh domstate web | grep -q paused
state web | grep -q '^--p'
virsh resume web
virsh domstate web | grep -q running
ask web true

#: shutdown
virsh shutdown web
soon gone web
soon sh -c 'virsh domstate web | grep -q "shut off"'

#: create, destroy
virsh start web
virsh destroy web
gone web
virsh domstate web | grep -q 'shut off'

#: undefine
virsh undefine web
fails virsh domstate web

#: nothing is left
nothing_left
