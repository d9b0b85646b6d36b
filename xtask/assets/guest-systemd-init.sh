#!/bin/sh
# The first process of a guest with a Debian root: what systemd expects of an initramfs, then systemd.
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
case "$(cat /proc/cmdline)" in
# A kernel without types, as far as anybody can see.
*mcpsonar.nobtf*) mount -t tmpfs none /sys/kernel/btf ;;
esac
units=/etc/systemd/system
mkdir -p $units/multi-user.target.wants
ln -s ../mcpsonar-check.service $units/multi-user.target.wants/
# Nobody logs in, and udev, which names terminals, is not there.
ln -s /dev/null $units/serial-getty@ttyS0.service
ln -s /dev/null $units/systemd-modules-load.service
exec /lib/systemd/systemd
