#: shut down before PV GRUB (600)
ask debian 'update-grub'
xl shutdown -w debian
soon gone debian

#: PV GRUB (1200)
described "kernel = '/usr/lib/grub-xen/grub-x86_64-xen.bin'"
create debian
login
ask debian 'cat /proc/cmdline; grep "BOOT_IMAGE=/boot/vmlinuz" /proc/cmdline'
ask debian 'test "$(nproc)" = 2; grep kept /root/mark'
