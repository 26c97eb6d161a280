# SPDX-License-Identifier: MIT
# The seccomp door, where the numbers of system calls are known to it.
exec := exec execfilter execguard execabove execserve execlook execpath execcaller execanswer
exec += execlist srv srvnames

ifneq ($(filter x86_64-% aarch64-%,$(shell $(CC) -dumpmachine)),)
programs += pagsrv-exec
endif

$(BUILD)/pagsrv-exec: $(exec:%=$(BUILD)/%.o) $(BUILD)/libpagsrv.a
	$(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $^
