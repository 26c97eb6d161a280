# SPDX-License-Identifier: MIT
# The preload door: one library, for LD_PRELOAD, with the C client within.
libraries += libpagsrv-preload.so

preload_objects := $(patsubst %.c,$(BUILD)/%.o,$(wildcard preload_*.c))
preload_within := $(BUILD)/srv.o $(BUILD)/srvnames.o $(BUILD)/libpagsrv.a

# libc's own checks would put other functions in the place of those that are defined here.
$(preload_objects): override CFLAGS += -U_FORTIFY_SOURCE

$(BUILD)/libpagsrv-preload.so: $(preload_objects) $(preload_within)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-z,now,-z,relro,-z,defs,--exclude-libs,ALL -o $@ \
		$(preload_objects) $(preload_within)
