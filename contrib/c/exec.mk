# SPDX-License-Identifier: MIT
# The seccomp door.
programs += pagsrv-exec
exec := exec execfilter execguard execserve execlook execpath execcaller execanswer execlist srv srvnames

$(BUILD)/pagsrv-exec: $(exec:%=$(BUILD)/%.o) $(BUILD)/libpagsrv.a
	$(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $^ -lkeyutils
