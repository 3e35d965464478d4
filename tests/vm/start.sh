# SPDX-License-Identifier: MIT
# Starting a guest: accelerator, devices, QEMU's command line; a part of vm.
# shellcheck shell=bash disable=SC2154 # lib.sh and vm define the rest

cpus=2 mem=2G kernel=6.12 iommu=intel device=vhost-user-test queues=1 vq_size=1024
append="" device_options="" devices=() extra=() pmem_window="" pmem_metadata=64M@0x20000000

# accel - print kvm where a stock kernel reaches its initramfs with it, else tcg
#
# A /dev/kvm proves nothing: some machines' runs only kernels made for them. The answer is kept
# until the machine is booted again.
accel()
{
	local boot result log=$lab_run/accel.log pid
	if [ -n "${VFSDAXFUSE_ACCEL-}" ]; then
		echo "$VFSDAXFUSE_ACCEL"
		return
	fi
	boot=$(cat /proc/sys/kernel/random/boot_id)
	mkdir -p "$lab_run"
	exec 8>"$lab_run/accel.lock"
	flock 8
	if [ "$(sed 1q "$lab_run/accel" 2>/dev/null)" = "$boot" ]; then
		sed -n 2p "$lab_run/accel"
		return
	fi
	result=tcg
	if [ -w /dev/kvm ]; then
		need_prepared "$lab_kernels/6.12/initrd" "$lab_qemu"
		: >"$log"
		(
			exec_in_tree "$lab_qemu" timeout 15 qemu-system-x86_64 -nodefaults \
				-display none -no-reboot -accel kvm -cpu max -m 512M -serial stdio \
				-M q35,kernel-irqchip=split -device intel-iommu,intremap=on \
				-kernel "$lab_kernels/6.12/vmlinuz" \
				-initrd "$lab_kernels/6.12/initrd" \
				-append 'console=ttyS0 quiet lab=probe'
		) </dev/null >"$log" 2>&1 8>&- 9>&- &
		pid=$!
		while kill -0 "$pid" 2>/dev/null &&
			! grep -qE 'lab: alive|emulation failure|KVM internal error' "$log"; do
			sleep 0.1
		done
		! grep -q 'lab: alive' "$log" || result=kvm
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	printf '%s\n' "$boot" "$result" >"$lab_run/accel"
	echo "$result"
}

# add_device SOCK - a virtio-fs device whose back end listens there; the first is 00:10.0
add_device()
{
	local number=$((${#devices[@]} / 4)) socket model n
	local id=fs$number address=addr=0x$((10 + number))${device_options:+,$device_options}
	socket=$(realpath -m "$1")
	for ((n = 0; n < 50; n++)); do	# its server may be starting
		[ ! -S "$socket" ] || break
		sleep 0.1
	done
	[ -S "$socket" ] || die "$socket is no socket"
	devices+=(-chardev "socket,id=$id,path=$socket" -device)
	case $device in
	vhost-user-test)
		# 44 bytes: struct virtio_fs_config, the tag and the number of request queues
		model=vhost-user-test-device-pci,virtio-id=26,config_size=44
		devices+=("$model,chardev=$id,num_vqs=$((queues + 1)),vq_size=$vq_size,$address")
		;;
	vhost-user-fs)
		model=vhost-user-fs-pci,tag=$id,num-request-queues=$queues
		devices+=("$model,chardev=$id,queue-size=$vq_size,$address")
		;;
	*)
		die "no device for a socket: $device"
		;;
	esac
}

# bytes SIZE - of a size as QEMU and the kernel take it
bytes()
{
	case $1 in
	*[!0-9KMG]* | '' | [!0-9]*) die "'$1' is no size" ;;
	*K) echo $((${1%K} << 10)) ;;
	*M) echo $((${1%M} << 20)) ;;
	*G) echo $((${1%G} << 30)) ;;
	*) echo "$1" ;;
	esac
}

# pmem_range SIZE@ADDRESS - check its form; print first and last byte as /proc/iomem does
pmem_range()
{
	local size=${1%@*} at=${1#*@}
	[[ $1 == *@* && $at =~ ^(0x[0-9a-f]+|[0-9]+)$ ]] ||
		die "'$1' is not SIZE@ADDRESS, such as 1G@0xff00000000"
	size=$(bytes "$size") || exit
	[ "$size" != 0 ] && [ $((at % 4096)) = 0 ] && [ $((size % 4096)) = 0 ] ||
		die "'$1' does not consist of whole pages"
	printf '%08x-%08x\n' $((at)) $((at + size - 1))
}

# window_in_monitor - print SIZE@ADDRESS of the first device's BAR 4, when the firmware has set it
window_in_monitor()
{
	local pattern='s/.*BAR4: .* at \(0x[0-9a-f]*\) \[\(0x[0-9a-f]*\)\].*/\1 \2/p' first last
	read -r first last < <(monitor 'info pci' |
		sed -n "/device  16, function 0:/,/Bus/$pattern") || return
	# Before, it is all ones, or a size without an address.
	[ "$first" != 0xffffffffffffffff ] && [ $((first)) != 0 ] || return
	echo "$(((last - first + 1) >> 20))M@$first"
}

# learn_window - start the machine of args without a kernel: where does the firmware put the window?
#
# The kernel must know when it starts, and leaves BARs where the firmware has put them.
learn_window()
{
	local words=() i limit=$(($(date +%s) + 20))
	for ((i = 0; i < ${#args[@]}; i++)); do
		case ${args[i]} in
		-kernel | -initrd | -append) i=$((i + 1)) ;;
		*) words+=("${args[i]}") ;;
		esac
	done
	start_qemu "${words[@]}"
	until pmem_window=$(window_in_monitor 2>/dev/null); do
		alive || failed "QEMU ended while it was asked for the address of the window"
		[ "$(date +%s)" -lt "$limit" ] ||
			failed "the firmware gives no address to BAR 4 of the first device: has it a window?"
		sleep 0.05
	done
	kill_qemu
	rm -f "$run/monitor" "$run/pid"
}

# pmem_parameters - what makes the window and a piece of memory persistent memory for the kernel
pmem_parameters()
{
	echo "memmap=${pmem_window%@*}!${pmem_window#*@} memmap=${pmem_metadata%@*}!${pmem_metadata#*@}"
}

# check_pmem - the kernel has both regions, and the window's is exactly the BAR
#
# A region elsewhere would be taken for memory, and reading it is not harmless.
check_pmem()
{
	local bar region
	bar=$("${ssh[@]}" sed -n 5p /sys/bus/pci/devices/0000:00:10.0/resource) ||
		failed "no first device in the guest"
	# shellcheck disable=SC2086 # first, last, flags
	set -- $bar
	bar=$(printf '%08x-%08x' $(($1)) $(($2)))
	"${ssh[@]}" cat /proc/iomem >"$run/iomem"
	for region in "$pmem_window" "$pmem_metadata"; do
		grep -q "^ *$(pmem_range "$region") : Persistent Memory (legacy)$" "$run/iomem" ||
			failed "the guest has no persistent memory at $region, see $run/iomem"
	done
	[ "$(pmem_range "$pmem_window")" = "$bar" ] ||
		failed "persistent memory at $(pmem_range "$pmem_window") is not the window: BAR 4 is $bar"
}

# failed MESSAGE - say why the guest did not start, and end it
failed()
{
	{
		echo "vm: $1; QEMU's and the console's last lines:"
		tail -n 5 "$run/qemu.log"
		tail -n 30 "$run/console"
	} >&2
	kill_qemu
	exit 1
}

# shellcheck disable=SC2054 # QEMU's options hold commas
start()
{
	local sockets=() words=() kernel_dir accelerator began args i cpu
	while [ $# != 0 ]; do
		case $1 in
		--name) name=$2 ;;
		--kernel) kernel=$2 ;;
		--mem) mem=$2 ;;
		--cpus) cpus=$2 ;;
		--socket) sockets+=("$device" "$queues" "$vq_size" "$device_options" "$2") ;;
		--device) device=$2 ;;
		--num-request-queues) queues=$2 ;;
		--vq-size) vq_size=$2 ;;
		--device-options) device_options=$2 ;;
		--iommu) iommu=$2 ;;
		--append) append=$2 ;;
		--extra) read -ra words <<<"$2"; extra+=("${words[@]}") ;;
		--timeout) timeout=$2 ;;
		--pmem-window)
			if [[ ${2-} != [0-9]* ]]; then
				pmem_window=learn
				shift
				continue
			fi
			pmem_window=$2
			pmem_range "$2" >/dev/null
			;;
		*) die "unknown option $1" ;;
		esac
		shift 2 || die "an option lacks its value"
	done
	kernel_dir=$lab_kernels/$kernel
	lab_debian "$(lab_debian_of "$kernel")"
	need_prepared "$lab_qemu" "$lab_guest/root.img" "$kernel_dir/initrd"
	run_of "$name"
	mkdir -p "$run" "$lab_out"
	exec 9>"$lab_run/$name.lock"
	flock --nonblock 9 || die "VM $name is being started or stopped"
	! alive || die "VM $name runs already"
	rm -rf "$run"
	mkdir -p "$run"
	for ((i = 0; i < ${#sockets[@]}; i += 5)); do
		device=${sockets[i]} queues=${sockets[i + 1]} vq_size=${sockets[i + 2]}
		device_options=${sockets[i + 3]}
		[ "$device" = none ] || add_device "${sockets[i + 4]}"
	done
	case $iommu in
	intel)
		extra=(-device intel-iommu,intremap=on "${extra[@]}")
		append="intel_iommu=on $append"
		;;
	none) ;;
	*) die "unknown IOMMU $iommu" ;;
	esac
	if [ -n "$pmem_window" ]; then
		[ "${#devices[@]}" != 0 ] || die "--pmem-window needs a --socket"
		[ $((${pmem_metadata#*@} + $(bytes "${pmem_metadata%@*}"))) -le "$(bytes "$mem")" ] ||
			die "--pmem-window takes $pmem_metadata of the guest's memory, more than --mem $mem has"
	fi
	accelerator=$(accel)
	cpu=max
	# TCG executes rep movsb byte by byte; kernels and libraries that are told that it is fast then
	# copy at 240 instead of 500 MiB/s, which no real machine does.
	# Their check of the timer at boot, which panics after some milliseconds without a tick, says nothing
	# on a busy machine; under KVM they leave it out by themselves.
	[ "$accelerator" = kvm ] || cpu=max,-erms,-fsrm append="no_timer_check $append"
	args=(-name "$name" -nodefaults -display none -no-reboot -cpu "$cpu" -smp "$cpus" -m "$mem"
		-M q35,kernel-irqchip=split,memory-backend=mem
		-object "memory-backend-memfd,id=mem,size=$mem,share=on"
		-kernel "$kernel_dir/vmlinuz" -initrd "$kernel_dir/initrd"
		-append "console=ttyS0 loglevel=5 panic=-1 $append"
		-serial "file:console" -monitor unix:monitor,server=on,wait=off
		-drive "if=none,id=root,format=raw,snapshot=on,cache=unsafe,file=$lab_guest/root.img"
		-drive "if=none,id=modules,format=raw,readonly=on,file=$kernel_dir/modules.img"
		-netdev user,id=net,hostfwd=tcp:127.0.0.1:0-:22
		-fsdev "local,id=out,path=$lab_out,security_model=none,readonly=on,multidevs=remap"
		-fsdev "local,id=src,path=$lab_source,security_model=none,readonly=on,multidevs=remap"
		"${extra[@]}"
		-device virtio-blk-pci,drive=root -device virtio-blk-pci,drive=modules
		-device virtio-net-pci,netdev=net,romfile=
		-device virtio-9p-pci,fsdev=out,mount_tag=out
		-device virtio-9p-pci,fsdev=src,mount_tag=src
		"${devices[@]}")
	case $accelerator in
	kvm) args+=(-accel kvm) ;;
	tcg) args+=(-accel tcg,thread=multi) ;;
	*) die "unknown accelerator $accelerator" ;;
	esac

	began=$(date +%s%N)
	: >"$run/console"
	printf '%s %s\n' "$kernel" "$accelerator" >"$run/info"
	if [ -n "$pmem_window" ]; then
		[ "$pmem_window" != learn ] || learn_window
		for ((i = 0; i < ${#args[@]}; i++)); do
			[ "${args[i]}" != -append ] || args[i + 1]+=" $(pmem_parameters)"
		done
	fi
	start_qemu "${args[@]}"
	wait_ready "$began"
	if [ -n "$pmem_window" ]; then
		check_pmem
		printf '%s %s\n' "$pmem_window" "$pmem_metadata" >"$run/pmem"
		echo "vm: the window $pmem_window and the memory $pmem_metadata are persistent memory"
	fi
	printf 'vm: %s runs Linux %s under %s with %s CPUs, ready after %d.%d s\n' "$name" \
		"$(cat "$kernel_dir/release")" "$accelerator" "$cpus" \
		$((($(date +%s%N) - began) / 1000000000)) \
		$((($(date +%s%N) - began) / 100000000 % 10))
}

# start_qemu ARGUMENT... - in the background; its pid is kept
start_qemu()
{
	local pid
	(
		cd "$run" || exit
		export TMPDIR=$run	# for what the guest writes to its disk
		# In a session of its own it does not see an interrupt typed at the script.
		exec_in_tree "$lab_qemu" setsid qemu-system-x86_64 "$@"
	) </dev/null >"$run/qemu.log" 2>&1 9>&- &
	pid=$!
	process_id "$pid" >"$run/pid" || failed "QEMU ended at once"
}

# wait_ready BEGAN - until the guest takes commands
wait_ready()
{
	local limit=$(($1 + ${timeout:-90} * 1000000000))
	until grep -q 'lab: ready' "$run/console"; do
		alive || failed "QEMU ended"
		[ "$(date +%s%N)" -lt "$limit" ] || failed "the guest did not start in time"
		sleep 0.05
	done
	monitor 'info usernet' | awk '/HOST_FORWARD/ { print $4 }' >"$run/port"
	[ -s "$run/port" ] || failed "no port for ssh"
	ssh_command
	# This one stays in the background and carries the rest.
	until "${ssh[@]}" -fN -o ControlMaster=yes -o ServerAliveInterval=60 \
		-o ServerAliveCountMax=10 </dev/null >"$run/ssh.log" 2>&1 9>&-; do
		alive || failed "QEMU ended"
		[ "$(date +%s%N)" -lt "$limit" ] || failed "no answer from ssh: $(cat "$run/ssh.log")"
		sleep 0.1
	done
}
