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
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libpagsrv.so.0 -Wl,-z,defs -o $@ $^

# Static, and with musl where there is one: what the C library does before main() takes longer than
# all that the program does (a dynamic linker to start, glibc's look at the processor by cpuid).
MUSL ?= $(shell command -v musl-gcc)
STATIC ?= -static
# The kernel's headers, which musl has none of.
KERNEL ?= -idirafter /usr/include -idirafter /usr/include/$(shell $(CC) -dumpmachine)
programs += pagsrv-open
ifneq ($(MUSL),)
$(BUILD)/pagsrv-open: pagsrv-open.c opening.c $(libpagsrv:$(BUILD)/%.o=%.c) $(wildcard *.h) | $(BUILD)
	$(MUSL) $(CFLAGS) $(KERNEL) -static -o $@ $(filter %.c,$^)
else
$(BUILD)/pagsrv-open: $(BUILD)/pagsrv-open.o $(BUILD)/opening.o $(BUILD)/libpagsrv.a
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^
endif

# By itself, too: whoever wants the library alone.
install: install-client
install-client: $(BUILD)/libpagsrv.a $(BUILD)/libpagsrv.so.0 $(BUILD)/pagsrv-open
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include lib/pkgconfig)
	install -m 755 $(BUILD)/pagsrv-open $(DESTDIR)$(PREFIX)/bin/
	install -m 644 pagsrv.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(BUILD)/libpagsrv.a $(BUILD)/libpagsrv.so.0 $(DESTDIR)$(PREFIX)/lib/
	ln -sf libpagsrv.so.0 $(DESTDIR)$(PREFIX)/lib/libpagsrv.so
	sed 's|@PREFIX@|$(PREFIX)|' pagsrv.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/pagsrv.pc

.PHONY: install-client
