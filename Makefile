GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
TOOLS   := $(filter-out thin_tools thin_explore,$(notdir $(wildcard cmd/*)))
# Entry point of the tools: see internal/cli/entry_linux.go.
ENTRY    = $(if $(filter linux/amd64 linux/arm64,$(shell $(GO) env GOOS)/$(shell $(GO) env GOARCH)),-E thinpool/internal/cli.entry)
FLAGS    = -trimpath -buildvcs=false -ldflags '-s -w -buildid= -funcalign=16 $(ENTRY)'
BUILD    = CGO_ENABLED=0 $(GO) build $(FLAGS)
# thin_explore is a module of its own, to keep its dependencies out of the library.
EXPLORE  = cmd/thin_explore
TOOL     = $(GO) tool -modfile=tools.mod
FUZZTIME ?= 5s
FOR      ?= 1m
VULNDB   ?= https://vuln.go.dev

# make: static binaries in bin/
all:
	$(BUILD) -o bin/ ./cmd/...
	CGO_ENABLED=0 $(GO) -C $(EXPLORE) build $(FLAGS) -o $(CURDIR)/bin/ .

demo:
	@$(GO) run ./internal/demo

# make test: run all tests and list what was skipped. TIMEOUT is per package, for slow machines.
TIMEOUT ?= 20m
test:
	$(GO) run ./test/run -timeout $(TIMEOUT) ./...
	$(GO) -C $(EXPLORE) test -timeout $(TIMEOUT) ./...

# make long: the same, with more rounds of randomised tests
long:
	THINPOOL_LONG=1 $(GO) run ./test/run -timeout 2h ./...

# make kernel: tests in virtual machines: a sample or, with THINPOOL_KERNEL=all, all of them
kernel:
	THINPOOL_KERNEL=$${THINPOOL_KERNEL:-1} $(GO) run ./test/run -timeout 5h -run '$(KERNEL)' ./test/e2e
KERNEL = ^TestKernel|^TestLVM($$|Shrunk|Kernel)|^TestLVMLayouts$$

# make lab FOR=10m: damage metadata in many ways, judge check and repair, print a table
lab:
	$(GO) run ./test/damage/cmd -for $(FOR)

# make browser: test the pages of thin_report and thin_repair in chromium, if it is installed.
# BROWSER_PICTURES=FOLDER keeps screenshots.
browser:
	$(GO) -C test/browser test -count=1 -timeout $(TIMEOUT) ./...

# make pictures: draw docs/*.png again, after a change of the pages
pictures:
	$(GO) -C test/browser run ./pictures ../..

# make check: must pass before a commit
check: format vet test race fuzz

format:
	@out=$$($(TOOL) gofumpt -l .); test -z "$$out" || { echo "gofumpt wants to change:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) -C $(EXPLORE) vet ./...

# make race: test the packages with goroutines, and the commands that use them, for data races.
# -short skips tests of many images, and some run each tool on many inputs: make test runs all.
GOROUTINES = $(shell $(GO) list -f '{{.ImportPath}} {{.Imports}}' ./internal/... ./lvm/... ./metadata/... ./packfmt ./streamfmt ./tool/... ./xmlfmt | \
  grep -E '[[ ](sync|golang.org/x/sync/errgroup)[] ]' | cut -d' ' -f1)
race:
	$(GO) test -race -short -timeout $(TIMEOUT) -skip '^Test(Scripts|JSONDocumented|HostileDisks|HostileNames|HostileTexts|HostileLabel)$$' $(GOROUTINES) ./internal/command

# make fuzz: run each fuzz target for FUZZTIME. Go sometimes reports the end of that time as a
# failure without a failing input.
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

# make vulncheck: report known vulnerabilities in code that the tools call. It needs the network,
# and its result can change while the code does not, so it is not part of make check.
vulncheck:
	@$(TOOL) govulncheck -db '$(VULNDB)' ./... || { s=$$?; test $$s = 3 || echo \
	  "vulncheck: nothing was checked. If $(VULNDB) cannot be reached: make vulndb, then make vulncheck VULNDB=file://$(CURDIR)/vulndb" >&2; exit $$s; }

# make vulndb: fetch the database into the folder vulndb through the Go module proxy
VULNMOD = golang.org/x/vulndb
vulndb:
	rm -rf vulndb
	dir=$$(cd / && $(GO) mod download -json $(VULNMOD)@latest | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	  $(GO) run $(VULNMOD)/cmd/indexdb@$${dir##*@} -vulns "$$dir/data/osv" -out vulndb

# make mutants FILES="a.go b.go" SAMPLE=50: changes that the tests do not notice
SAMPLE ?= 0
mutants:
	$(GO) run ./test/mutants -sample $(SAMPLE) $(FILES)

# make bench: every tool beside the Rust tools of a folder beside the repository
bench: all
	$(GO) run ./bench

# make completions: run it after changing options
completions:
	$(GO) run ./internal/completions

# make licenses: run it after changing what is linked in
licenses:
	$(GO) run ./internal/licenses/collect

# make rename MODULE=host/owner/thinpool: copy the files known to git to a new folder, with another
# module path.
DEST    ?= ../thinpool-renamed
NOW      = $(shell $(GO) list -m)
FOLDERS  = tools|$(shell git ls-files '*/*' | cut -d/ -f1 | sort -u | paste -sd'|' -)
rename:
	@test -n '$(MODULE)' || { echo 'usage: make rename MODULE=host/owner/thinpool [DEST=$(DEST)]' >&2; exit 2; }
	@test ! -e '$(DEST)' || { echo '$(DEST) is there already' >&2; exit 2; }
	mkdir -p '$(DEST)'
	git ls-files -z | tar -cf - --null -T - | tar -xf - -C '$(DEST)'
	cd '$(DEST)' && $(GO) mod edit -module '$(MODULE)' && $(GO) mod edit -module '$(MODULE)/tools' tools.mod
	cd '$(DEST)' && $(GO) mod edit -module '$(MODULE)/test/browser' test/browser/go.mod
	cd '$(DEST)/$(EXPLORE)' && $(GO) mod edit -module '$(MODULE)/$(EXPLORE)' -droprequire $(NOW) -dropreplace $(NOW) -require '$(MODULE)@v0.0.0' -replace '$(MODULE)=../..'
	cd '$(DEST)' && find . -type f \( -name '*.go' -o -name '*.md' -o -name Makefile -o -path './.ci/*' \) -exec sed -i.orig -E \
	  -e 's#(^|[^[:alnum:]_./-])$(NOW)/(($(FOLDERS))([^[:alnum:]_-]|$$)|")#\1$(MODULE)/\2#g' {} +
	cd '$(DEST)' && find . -name '*.orig' -exec rm {} +
	cd '$(DEST)' && gofmt -w . && $(GO) build ./...
	@echo 'in $(DEST): $(MODULE)'

# make binary OUT=FILE: build only thin_tools, as in packages. GOARCH in the environment selects the
# processor. The binary contains the commit, except with VCS=false.
OUT ?= bin/thin_tools
VCS ?= auto
binary:
	$(BUILD) -buildvcs=$(VCS) -o $(OUT) ./cmd/thin_tools

# make explorer OUT=FILE: the same for thin_explore
explorer:
	CGO_ENABLED=0 $(GO) -C $(EXPLORE) build $(FLAGS) -buildvcs=$(VCS) -o $(abspath $(OUT)) .

# make packages: build deb, rpm, apk and Arch packages in dist/, for this processor or those in ARCHES
ARCHES ?=
packages:
	./packaging/build dist $(ARCHES)

# make packages-check: compare two builds, lint, and install and remove in a temporary root
packages-check:
	./packaging/check

# make dist: build tarballs for four processors, the source with all modules, SBOM, SHA256SUMS
dist:
	./packaging/dist dist

# make site: convert all documents and man pages to HTML in site/ and check links
site:
	go -C packaging run ./site .. ../site

SHARE = $(DESTDIR)$(PREFIX)/share
install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(SHARE)/doc/thinpool $(SHARE)/man/man7 $(SHARE)/man/man8 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	install -m 755 bin/thin_tools $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 bin/thin_explore $(DESTDIR)$(PREFIX)/sbin/
	for t in $(TOOLS); do ln -sf thin_tools $(DESTDIR)$(PREFIX)/sbin/$$t; done
	install -m 644 completions/bash/thin_tools completions/bash/thin_explore $(SHARE)/bash-completion/completions/
	for t in $(TOOLS); do ln -sf thin_tools $(SHARE)/bash-completion/completions/$$t; done
	install -m 644 completions/zsh/_thin_tools completions/zsh/_thin_explore $(SHARE)/zsh/site-functions/
	install -m 644 completions/fish/*.fish $(SHARE)/fish/vendor_completions.d/
	install -m 644 man7/*.7 $(SHARE)/man/man7/
	install -m 644 man8/*.8 $(SHARE)/man/man8/
	install -m 644 LICENSE internal/licenses/THIRD_PARTY_LICENSES $(SHARE)/doc/thinpool/

clean:
	rm -rf bin dist site fuzz.log vulndb

.PHONY: all demo test long kernel lab browser pictures check format vet race fuzz vulncheck vulndb mutants bench completions licenses binary explorer packages packages-check dist site rename install clean
