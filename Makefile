# latchkey. `make help` lists what a person needs.
#
#   make BUILD=dir SANITIZE=address,undefined CC=clang WERROR=1 ...

VERSION    := 0.1.0
BUILD      ?= build
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
SYSTEMDUSERDIR ?= $(PREFIX)/lib/systemd/user
UDEVRULESDIR ?= $(PREFIX)/lib/udev/rules.d
DESTDIR    ?=
CC         ?= cc
PKG_CONFIG ?= pkg-config
WERROR     ?= 1
SANITIZE   ?=

bindir     := $(PREFIX)/bin
libexecdir := $(PREFIX)/libexec/latchkey
mandir     := $(PREFIX)/share/man

# --- dependencies ----------------------------------------------------------------------------------------------
PKGS_proto   := gpg-error libgcrypt libcrypto libassuan
PKGS_agent   := gpg-error libgcrypt libassuan libudev libsystemd jansson libcrypto
PKGS_devices := gpg-error libgcrypt libassuan libpcsclite libcrypto p11-kit-1 libfido2 ksba zlib libprotobuf-c libusb-1.0 hidapi-hidraw
PKGS_tests   := check libcrypto libssh libcbor zlib
PKGS_all     := $(sort $(PKGS_proto) $(PKGS_agent) $(PKGS_devices) $(PKGS_tests))

# What needs no compiled program must not trip over a missing library.
NODEPS_GOALS := help clean deps format
ifneq ($(filter-out $(NODEPS_GOALS),$(or $(MAKECMDGOALS),all)),)
ifneq ($(shell $(PKG_CONFIG) --exists $(PKGS_all) 2>/dev/null && command -v $(firstword $(CC)) >/dev/null && echo yes),yes)
# check and demo install what is missing by themselves; everything else says how.
ifneq ($(filter check demo,$(MAKECMDGOALS)),)
$(info latchkey: some libraries are missing; contrib/install-deps installs them)
DEPS_OUT := $(shell sh contrib/install-deps --for check >&2 && echo installed)
ifneq ($(DEPS_OUT),installed)
$(error contrib/install-deps could not install what is missing: see above)
endif
else
$(error missing libraries among: $(PKGS_all). Run: contrib/install-deps)
endif
endif
endif

# --- flags ------------------------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wformat=2 \
        -Wvla -Wwrite-strings
ifeq ($(WERROR),1)
WARN += -Werror
endif
HARDEN := -fstack-protector-strong -fstack-clash-protection -fPIE
ifneq ($(filter x86_64 i686,$(shell uname -m)),)
HARDEN += -fcf-protection
endif
HARDEN_LD := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed
OPT := -O2 -g
ifneq ($(SANITIZE),)
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
else
HARDEN += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
endif
STD := -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -pthread -I. \
       -DLATCHKEY_VERSION='"$(VERSION)"' -DLATCHKEY_SYSCONFDIR='"$(SYSCONFDIR)"'
CPPFLAGS ?=
CFLAGS   ?=
LDFLAGS  ?=
ALL_CFLAGS = $(STD) $(WARN) $(OPT) $(HARDEN) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(OPT) $(HARDEN_LD) $(LDFLAGS)

# One short line a step; V=1 shows the commands.
ifeq ($(V),1)
say =
else
say = @echo "  $(1) $(patsubst $(BUILD)/%,%,$@)";
endif

pkg_cflags = $(shell $(PKG_CONFIG) --cflags $(1) 2>/dev/null)
pkg_libs   = $(shell $(PKG_CONFIG) --libs $(1) 2>/dev/null)

# --- rooms ------------------------------------------------------------------------------------------------------
src_proto    := $(wildcard proto/*.c)
src_policy   := $(wildcard policy/*.c)
src_agent    := $(filter-out agent/main.c,$(wildcard agent/*.c))
src_cli      := $(wildcard agent/cli/*.c)
src_gpgshim  := $(wildcard agent/gpgshim/*.c)
src_devices  := $(filter-out devices/main.c,$(wildcard devices/*.c)) $(patsubst %.proto,%.pb-c.c,$(wildcard devices/*.proto))
src_card     := $(wildcard tests/card/*.c)
src_pkcs11   := $(wildcard tests/pkcs11/*.c)
src_fido     := $(wildcard tests/fido/*.c)
src_ledger   := $(wildcard tests/wallets/ledger/*.c) tests/wallets/slip10.c
src_bench    := $(wildcard tests/bench/*.c)
src_clients  := $(wildcard tests/clients/*.c)
src_vm       := $(wildcard tests/vm/*.c)

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
lib_proto   := $(BUILD)/libproto.a
lib_policy  := $(BUILD)/libpolicy.a
lib_agent   := $(BUILD)/libagent.a
lib_devices := $(BUILD)/libdevices.a

PROGRAMS := $(BUILD)/latchkey-agent $(BUILD)/latchkey-token $(BUILD)/latchkey $(BUILD)/latchkey-gpg

.SECONDARY:
.PHONY: all
all: $(PROGRAMS)

cflags_proto   := $(call pkg_cflags,$(PKGS_proto))
cflags_agent   := $(call pkg_cflags,$(PKGS_agent))
cflags_devices := $(call pkg_cflags,$(PKGS_devices))
cflags_tests   := $(call pkg_cflags,$(PKGS_all))
libs_proto     := $(call pkg_libs,$(PKGS_proto))
libs_agent     := $(call pkg_libs,$(PKGS_agent))
libs_devices   := $(call pkg_libs,$(PKGS_devices))
libs_tests     := $(call pkg_libs,$(PKGS_all)) -lm

$(BUILD)/obj/proto/%.o $(BUILD)/obj/policy/%.o: PKG_CFLAGS = $(cflags_proto)
$(BUILD)/obj/agent/%.o:   PKG_CFLAGS = $(cflags_agent)
$(BUILD)/obj/devices/%.o: PKG_CFLAGS = $(cflags_devices) -I$(BUILD)/gen
$(BUILD)/obj/tests/%.o:   PKG_CFLAGS = $(cflags_tests) -I$(BUILD)/gen

# Objects depend on the flags they were made with, so that another SANITIZE in the same BUILD rebuilds.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(subst ','\'',$(CC) $(ALL_CFLAGS))' | cmp -s - $@ || echo '$(subst ','\'',$(CC) $(ALL_CFLAGS))' > $@
.PHONY: FORCE
FORCE:

# Messages from .proto files, by protobuf-c.
PROTOC_C ?= protoc-c
pb_headers := $(patsubst %.proto,$(BUILD)/gen/%.pb-c.h,$(wildcard devices/*.proto))

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(pb_headers)
	@mkdir -p $(dir $@)
	$(call say,CC  )$(CC) $(ALL_CFLAGS) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h: %.proto
	@mkdir -p $(BUILD)/gen
	$(call say,GEN )$(PROTOC_C) --proto_path=. --c_out=$(BUILD)/gen $<
$(BUILD)/obj/%.pb-c.o: $(BUILD)/gen/%.pb-c.c $(BUILD)/flags
	@mkdir -p $(dir $@)
	$(call say,CC  )$(CC) $(ALL_CFLAGS) -Wno-conversion $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

define archive
$(lib_$(1)): $(call obj,$(src_$(1)))
	@rm -f $$@
	$$(call say,AR  )$$(AR) rcs $$@ $$^
endef
$(foreach room,proto policy agent devices,$(eval $(call archive,$(room))))

$(BUILD)/latchkey-agent: $(call obj,agent/main.c) $(lib_agent) $(lib_policy) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_agent)
$(BUILD)/latchkey-token: $(call obj,devices/main.c) $(lib_devices) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_devices)
$(BUILD)/latchkey: $(call obj,$(src_cli)) $(lib_agent) $(lib_policy) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_agent)
$(BUILD)/latchkey-gpg: $(call obj,$(src_gpgshim)) $(lib_agent) $(lib_policy) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_agent)

# --- tests ------------------------------------------------------------------------------------------------------
# A unit test program per file; its name begins with the room it tests.
unit_src  := $(wildcard tests/unit/test_*.c)
unit_bins := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(unit_src))
$(BUILD)/unit/test_agent_broker $(BUILD)/unit/test_agent_destination $(BUILD)/unit/test_agent_provider: $(BUILD)/obj/tests/unit/fakes_broker.o
$(BUILD)/unit/test_agent_scd: $(BUILD)/obj/tests/unit/fakes_cards.o
$(BUILD)/unit/test_agent_gpg_secret $(BUILD)/bin/gpg_session $(BUILD)/corpus/gpg_session: \
    $(BUILD)/obj/tests/unit/fakes_gpg.o
$(BUILD)/unit/test_agent_gpg_options $(BUILD)/unit/test_agent_gpgshim: \
    $(call obj,$(filter-out agent/gpgshim/main.c,$(src_gpgshim)))
$(BUILD)/unit/test_agent_gpgshim: $(BUILD)/obj/tests/unit/fake_ctl.o | $(BUILD)/latchkey-gpg
$(BUILD)/unit/test_devices_securitykey: | $(BUILD)/testfido $(BUILD)/testsk.so
$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(lib_agent) $(lib_devices) $(lib_policy) $(lib_proto)
	@mkdir -p $(dir $@)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(libs_tests)

$(BUILD)/testcard: $(call obj,$(src_card) $(filter-out tests/fido/main.c,$(src_fido))) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_tests)

# A PKCS#11 module for the tests: nothing but what PKCS#11 wants is seen of it.
fake_pkcs11 := $(BUILD)/fake_pkcs11.so
$(call obj,$(src_pkcs11)): HARDEN := $(filter-out -fPIE,$(HARDEN)) -fPIC -fvisibility=hidden
$(fake_pkcs11): $(call obj,$(src_pkcs11))
	$(call say,LINK)$(CC) -shared $(OPT) $(LDFLAGS) -o $@ $^ $(call pkg_libs,libcrypto)
$(BUILD)/unit/test_devices_pkcs11: | $(fake_pkcs11)

$(BUILD)/testfido: $(call obj,$(src_fido) tests/card/vpcd.c) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_tests)

$(BUILD)/testledger: $(call obj,$(src_ledger)) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_tests)
$(BUILD)/unit/test_devices_ledger: | $(BUILD)/testledger

# ssh-keygen loads it too, so it goes without sanitizers.
$(BUILD)/testsk.so: tests/middleware/testsk.c
	@mkdir -p $(dir $@)
	$(call say,LINK)$(CC) $(STD) $(WARN) -O2 -g -fPIC -shared -o $@ $< $(call pkg_libs,libcrypto)

# Loaded before libpcsclite: a reader that takes the PIN itself, which virtual readers cannot.
$(BUILD)/testpinpad.so: tests/middleware/testpinpad.c
	@mkdir -p $(dir $@)
	$(call say,LINK)$(CC) $(STD) $(WARN) -O2 -g -fPIC -shared $(call pkg_cflags,libpcsclite) -o $@ $<

bench_bins := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(src_bench))
$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(lib_proto)
	@mkdir -p $(dir $@)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_tests)

# Clients of others' making, for the scenarios.
client_bins := $(patsubst tests/clients/%.c,$(BUILD)/clients/%,$(src_clients))
$(BUILD)/clients/%: $(BUILD)/obj/tests/clients/%.o
	@mkdir -p $(dir $@)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_tests)

# USB devices for the guest of tests/vm.
$(BUILD)/testusb: $(call obj,$(src_vm)) $(lib_proto)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(libs_tests)

.PHONY: testprograms all-unit check check-unit check-scenarios
all-unit: $(unit_bins)
testprograms: all $(unit_bins) $(BUILD)/testcard $(BUILD)/testfido $(BUILD)/testledger $(BUILD)/testsk.so $(BUILD)/testpinpad.so $(bench_bins) $(client_bins) $(fake_pkcs11)

testprograms: $(BUILD)/testusb

check:
	@sh contrib/install-deps --check || sh contrib/install-deps --for check
	@$(MAKE) --no-print-directory -j2 testprograms
	@$(MAKE) --no-print-directory check-unit check-fuzz-corpus check-scenarios
	@echo "latchkey: every suite passed (tokens on a kernel's USB, unplugged for real, are a suite of their own: make check-usb)"

check-unit: $(unit_bins)
	@BUILD='$(BUILD)' sh tests/run-unit $(unit_bins)

check-scenarios: all $(BUILD)/testcard $(BUILD)/testfido $(BUILD)/testledger $(BUILD)/testsk.so $(BUILD)/testpinpad.so $(client_bins) $(fake_pkcs11)
	@BUILD='$(abspath $(BUILD))' tests/run-scenarios $(SCENARIOS)

# Tokens on a real kernel, in a guest: Debian packages, unpacked below $(BUILD) by apt, nothing installed. USB_TESTS: words of names.
.PHONY: check-usb
check-usb: all $(BUILD)/testcard $(BUILD)/testfido $(BUILD)/testusb $(if $(src_ledger),$(BUILD)/testledger)
	@BUILD='$(abspath $(BUILD))' tests/vm/run tests/vm/usb-tests $(USB_TESTS)

# OpenSSH's own tests of agents, with ours in their place (Debian's package openssh-tests).
.PHONY: check-openssh
check-openssh: all
	@BUILD='$(abspath $(BUILD))' tests/run-openssh $(OPENSSH_TESTS)

# GnuPG's own tests of gpg, with our agent (or AGENT=/usr/bin/gpg-agent) behind it: its source package, fetched by apt.
.PHONY: check-gnupg
check-gnupg: $(if $(AGENT),,all)
	@BUILD='$(abspath $(BUILD))' tests/run-gnupg $(GNUPG_TESTS)

# --- fuzzing: clang's libFuzzer, a target per parser of outside bytes -----------------------------------------------
FUZZ_SECONDS ?= 60
FUZZ_CC      ?= clang
fuzz_names   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
.PHONY: fuzz fuzz-build check-fuzz-corpus
fuzz-build:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=$(FUZZ_CC) SANITIZE=fuzzer-no-link,address,undefined \
	    $(addprefix $(BUILD)/fuzz/bin/,$(fuzz_names))
$(BUILD)/bin/%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(lib_agent) $(lib_devices) $(lib_policy) $(lib_proto)
	@mkdir -p $(dir $@)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(filter %.a,$^) $(libs_tests)
fuzz: fuzz-build
	@FUZZ_SECONDS=$(FUZZ_SECONDS) sh tests/run-fuzz $(BUILD)/fuzz/bin $(fuzz_names)

# The same targets, fed their seed corpus by a plain main(): part of `make check`, with any compiler.
corpus_bins := $(addprefix $(BUILD)/corpus/,$(fuzz_names))
$(BUILD)/corpus/%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/standalone.o \
                   $(lib_agent) $(lib_devices) $(lib_policy) $(lib_proto)
	@mkdir -p $(dir $@)
	$(call say,LINK)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(libs_tests)
check-fuzz-corpus: $(corpus_bins)
	@sh tests/run-corpus $(BUILD)/corpus $(fuzz_names)

# --- lint, bench, demo, install -------------------------------------------------------------------------------------
.PHONY: lint format bench demo deps install uninstall clean help
lint: $(pb_headers)
	@BUILD='$(BUILD)' sh tests/lint
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
bench: all $(bench_bins)
	@BUILD='$(abspath $(BUILD))' tests/bench/run
demo:
	@sh contrib/install-deps --check || sh contrib/install-deps --for demo
	@$(MAKE) --no-print-directory -j2 all $(BUILD)/testcard
	@BUILD='$(abspath $(BUILD))' contrib/demo
deps:
	sh contrib/install-deps

install: all
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(libexecdir) $(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man5
	install -m 0755 $(BUILD)/latchkey-agent $(BUILD)/latchkey $(BUILD)/latchkey-gpg $(DESTDIR)$(bindir)/
	install -m 0755 $(BUILD)/latchkey-token $(DESTDIR)$(libexecdir)/
	install -m 0644 contrib/man/*.1 $(DESTDIR)$(mandir)/man1/
	install -m 0644 contrib/man/*.5 $(DESTDIR)$(mandir)/man5/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 0644 contrib/completions/latchkey.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/latchkey
	ln -sf latchkey $(DESTDIR)$(PREFIX)/share/bash-completion/completions/latchkey-agent
	ln -sf latchkey $(DESTDIR)$(PREFIX)/share/bash-completion/completions/latchkey-gpg
	install -m 0644 contrib/completions/_latchkey $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_latchkey
	install -m 0644 contrib/completions/latchkey.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/latchkey.fish
	ln -sf latchkey.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/latchkey-agent.fish
	ln -sf latchkey.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/latchkey-gpg.fish
	install -d $(DESTDIR)$(SYSTEMDUSERDIR) $(DESTDIR)$(UDEVRULESDIR)
	install -m 0644 contrib/udev/70-latchkey.rules $(DESTDIR)$(UDEVRULESDIR)/
	sed 's|@bindir@|$(bindir)|g' contrib/systemd/latchkey-agent.service.in > $(DESTDIR)$(SYSTEMDUSERDIR)/latchkey-agent.service
	install -m 0644 contrib/systemd/*.socket $(DESTDIR)$(SYSTEMDUSERDIR)/
	chmod 0644 $(DESTDIR)$(SYSTEMDUSERDIR)/latchkey-agent.service
	@install -d $(DESTDIR)$(SYSCONFDIR)/latchkey/policy.d 2>/dev/null || \
	    echo "note: $(SYSCONFDIR)/latchkey/policy.d, for an administrator's policies, cannot be made by you"

uninstall:
	rm -f $(DESTDIR)$(UDEVRULESDIR)/70-latchkey.rules
	rm -f $(addprefix $(DESTDIR)$(bindir)/,latchkey-agent latchkey latchkey-gpg)
	rm -rf $(DESTDIR)$(libexecdir)
	rm -f $(addprefix $(DESTDIR)$(mandir)/man1/,$(notdir $(wildcard contrib/man/*.1)))
	rm -f $(addprefix $(DESTDIR)$(mandir)/man5/,$(notdir $(wildcard contrib/man/*.5)))
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/share/bash-completion/completions/,latchkey latchkey-agent latchkey-gpg) \
	    $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_latchkey \
	    $(addprefix $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/,latchkey.fish latchkey-agent.fish latchkey-gpg.fish)
	rm -f $(addprefix $(DESTDIR)$(SYSTEMDUSERDIR)/,latchkey-agent.service $(notdir $(wildcard contrib/systemd/*.socket)))

clean:
	rm -rf $(BUILD)

help:
	@echo "make                 build into $(BUILD)/ (BUILD=dir, CC=clang, SANITIZE=address,undefined|thread)"
	@echo "make check           install what is missing, build, run all tests"
	@echo "make check-usb       tokens on USB in a guest with Debian's kernel: plugged, used, pulled (USB_TESTS='words')"
	@echo "make check-openssh   OpenSSH's own agent tests, with latchkey-agent"
	@echo "make check-gnupg     GnuPG's own tests of gpg, with latchkey-agent behind it"
	@echo "make demo            the main job, shown: ssh login, signed git commit, a card, unplug"
	@echo "make install         PREFIX=/usr/local DESTDIR= SYSCONFDIR=/etc SYSTEMDUSERDIR=PREFIX/lib/systemd/user"
	@echo "                     (for yourself: PREFIX=~/.local SYSTEMDUSERDIR=~/.local/share/systemd/user)"
	@echo "make uninstall       with the same variables"
	@echo "make lint            clang-tidy, cppcheck, clang-format, man pages, who includes whom"
	@echo "make fuzz            FUZZ_SECONDS=60 shared among all targets"
	@echo "make bench           speed, beside the stock agents"

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
