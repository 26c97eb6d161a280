# SPDX-License-Identifier: MIT
# libpagsrv, static and shared, and what pkg-config(1) tells of it.
OBJCOPY ?= objcopy
libpagsrv := attach entries entry fault json jsonvalue list post prove sha256 where whose wire
libpagsrv := $(libpagsrv:%=$(BUILD)/%.o)
libraries += libpagsrv.a libpagsrv.so.0

# What is not pagsrv_* is nobody's: neither to be linked with nor in the way of others' names.
$(BUILD)/libpagsrv.o: $(libpagsrv)
	$(LD) -r -o $@ $^
	$(OBJCOPY) --localize-hidden $@

$(BUILD)/libpagsrv.a: $(BUILD)/libpagsrv.o
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libpagsrv.so.0: $(libpagsrv)
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libpagsrv.so.0 -Wl,-z,defs -o $@ $^ -lkeyutils

install: install-client
install-client: everything
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig
	ln -sf libpagsrv.so.0 $(DESTDIR)$(PREFIX)/lib/libpagsrv.so
	sed 's|@PREFIX@|$(PREFIX)|' pagsrv.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/pagsrv.pc

.PHONY: install-client
