GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
TOOLS   := $(filter-out thin_tools,$(notdir $(wildcard cmd/*)))
# Where the tools begin: see internal/cli/entry_linux.go.
ENTRY    = $(if $(filter linux/amd64 linux/arm64,$(shell $(GO) env GOOS)/$(shell $(GO) env GOARCH)),-E thinpool/internal/cli.entry)
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid= $(ENTRY)'
TOOL     = $(GO) tool -modfile=tools.mod
FUZZTIME ?= 5s
FOR      ?= 1m
VULNDB   ?= https://vuln.go.dev

# make: static binaries in bin/
all:
	$(BUILD) -o bin/ ./cmd/...

demo:
	@$(GO) run ./internal/demo

# make test: all tests, and what was skipped. TIMEOUT is for one package on a slow machine.
TIMEOUT ?= 20m
test:
	$(GO) run ./test/run -timeout $(TIMEOUT) ./...

# make long: the same, with what is tried at random tried more often
long:
	THINPOOL_LONG=1 $(GO) run ./test/run -timeout 2h ./...

# make kernel: what needs a virtual machine, a sample of it or, with THINPOOL_KERNEL=all, all of it
kernel:
	THINPOOL_KERNEL=$${THINPOOL_KERNEL:-1} $(GO) run ./test/run -timeout 5h -run '$(KERNEL)' ./test/e2e
KERNEL = ^TestKernel|^TestLVM($$|Shrunk|Kernel)|^TestLVMLayouts$$

# make lab FOR=10m: damage metadata in every way, judge check and repair, print a table
lab:
	$(GO) run ./test/damage/cmd -for $(FOR)

# make browser: the pages of thin_report and thin_repair in chromium, if it is installed.
# BROWSER_PICTURES=FOLDER keeps pictures of them.
browser:
	$(GO) -C test/browser test -count=1 -timeout $(TIMEOUT) ./...

# make pictures: docs/*.png again, after a change of the pages
pictures:
	$(GO) -C test/browser run ./pictures ../..

# make check: what has to pass before a commit
check: format vet test race fuzz

format:
	@out=$$($(TOOL) gofumpt -l .); test -z "$$out" || { echo "gofumpt wants to change:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...
	$(TOOL) staticcheck ./...

# make race: the packages with goroutines, and the commands that use them. -short leaves out
# tests of many images, and TestScripts starts processes: make test runs both.
GOROUTINES = $(shell $(GO) list -f '{{.ImportPath}} {{.Imports}}' ./internal/... ./lvm/... ./metadata/... ./packfmt ./streamfmt ./tool/... ./xmlfmt | \
  grep -E '[[ ](sync|golang.org/x/sync/errgroup)[] ]' | cut -d' ' -f1)
race:
	$(GO) test -race -short -timeout $(TIMEOUT) -skip '^TestScripts$$' $(GOROUTINES) ./internal/command

# make fuzz: each fuzz target for FUZZTIME. Go sometimes reports the end of that time
# as a failure, which has no failing input.
fuzz:
	@for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
	  p=$$(dirname $$file); \
	  for f in $$(sed -n 's/^func \(Fuzz[[:alnum:]_]*\).*/\1/p' $$file); do \
	    echo "fuzz $$p $$f"; \
	    $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -parallel 2 $$p >fuzz.log 2>&1 || \
	      { grep -q 'context deadline exceeded' fuzz.log && ! grep -q 'Failing input' fuzz.log; } || \
	      { cat fuzz.log; rm -f fuzz.log; exit 1; }; \
	  done; \
	done; rm -f fuzz.log

# make vulncheck: known vulnerabilities in what the tools call. It needs the network and
# its result changes without the code, so it is not part of make check.
vulncheck:
	@$(TOOL) govulncheck -db '$(VULNDB)' ./... || { s=$$?; test $$s = 3 || echo \
	  "vulncheck: nothing was checked. If $(VULNDB) cannot be reached: make vulndb, then make vulncheck VULNDB=file://$(CURDIR)/vulndb" >&2; exit $$s; }

# make vulndb: the database in the folder vulndb, by way of the Go module proxy
VULNMOD = golang.org/x/vulndb
vulndb:
	rm -rf vulndb
	dir=$$(cd / && $(GO) mod download -json $(VULNMOD)@latest | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	  $(GO) run $(VULNMOD)/cmd/indexdb@$${dir##*@} -vulns "$$dir/data/osv" -out vulndb

bench: all
	$(GO) run ./bench

# make completions: after a change of options
completions:
	$(GO) run ./internal/completions

# make licenses: after a change of what is linked in
licenses:
	$(GO) run ./internal/licenses/collect

# make rename MODULE=host/owner/thinpool: a copy with another module path, in a folder that is not
# there yet. What is copied is what git knows.
DEST    ?= ../thinpool-renamed
NOW      = $(shell $(GO) list -m)
FOLDERS  = tools|$(shell git ls-files '*/*' | cut -d/ -f1 | sort -u | paste -sd'|' -)
rename:
	@test -n '$(MODULE)' || { echo 'usage: make rename MODULE=host/owner/thinpool [DEST=$(DEST)]' >&2; exit 2; }
	@test ! -e '$(DEST)' || { echo '$(DEST) is there already' >&2; exit 2; }
	mkdir -p '$(DEST)'
	git ls-files -z | tar -cf - --null -T - | tar -xf - -C '$(DEST)'
	cd '$(DEST)' && $(GO) mod edit -module '$(MODULE)' && $(GO) mod edit -module '$(MODULE)/tools' tools.mod && $(GO) mod edit -module '$(MODULE)/test/browser' test/browser/go.mod
	cd '$(DEST)' && find . -type f \( -name '*.go' -o -name '*.md' -o -name Makefile -o -path './.ci/*' \) -exec sed -i.orig -E \
	  -e 's#(^|[^[:alnum:]_./-])$(NOW)/(($(FOLDERS))([^[:alnum:]_-]|$$)|")#\1$(MODULE)/\2#g' {} +
	cd '$(DEST)' && find . -name '*.orig' -exec rm {} +
	cd '$(DEST)' && gofmt -w . && $(GO) build ./...
	@echo 'in $(DEST): $(MODULE)'

# make binary OUT=FILE: thin_tools alone, as packages have it. GOARCH in the environment chooses the processor.
# It has the commit in it; VCS=false leaves that out.
OUT ?= bin/thin_tools
VCS ?= auto
binary:
	$(BUILD) -buildvcs=$(VCS) -o $(OUT) ./cmd/thin_tools

# make packages: deb, rpm, apk and Arch in dist/, for this processor or those in ARCHES
ARCHES ?=
packages:
	./packaging/build dist $(ARCHES)

# make packages-check: two builds are the same; lint; install and remove in a temporary root
packages-check:
	./packaging/check

# make dist: tarballs for four processors, the source with all modules, SBOM, SHA256SUMS
dist:
	./packaging/dist dist

# make site: all documents and man pages as HTML in site/, links checked
site:
	go -C packaging run ./site .. ../site

SHARE = $(DESTDIR)$(PREFIX)/share
install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(SHARE)/doc/thinpool $(SHARE)/man/man7 $(SHARE)/man/man8 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 bin/thin_tools $(DESTDIR)$(PREFIX)/sbin/
	for t in $(TOOLS); do ln -sf thin_tools $(DESTDIR)$(PREFIX)/sbin/$$t; done
	install -m 644 completions/bash/thin_tools $(SHARE)/bash-completion/completions/
	for t in $(TOOLS); do ln -sf thin_tools $(SHARE)/bash-completion/completions/$$t; done
	install -m 644 completions/zsh/_thin_tools $(SHARE)/zsh/site-functions/
	install -m 644 completions/fish/*.fish $(SHARE)/fish/vendor_completions.d/
	install -m 644 man7/*.7 $(SHARE)/man/man7/
	install -m 644 man8/*.8 $(SHARE)/man/man8/
	install -m 644 LICENSE internal/licenses/THIRD_PARTY_LICENSES $(SHARE)/doc/thinpool/

clean:
	rm -rf bin dist site fuzz.log vulndb

.PHONY: all demo test long kernel lab browser pictures check format vet race fuzz vulncheck vulndb bench completions licenses binary packages packages-check dist site rename install clean
