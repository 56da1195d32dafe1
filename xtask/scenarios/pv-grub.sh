#: shut down before PV GRUB (600)
ask debian 'mkdir -p /boot/grub; update-grub'
xl shutdown -w debian
soon gone debian

#: PV GRUB (2400)
described "kernel = '/usr/lib/grub-xen/grub-x86_64-xen.bin'"
create debian
login
ask debian 'cat /proc/cmdline; grep "root=UUID=" /proc/cmdline'
ask debian 'test "$(nproc)" = 2; grep kept /root/mark'
