internal import ArgumentParser
internal import Client
internal import RegistryModel

struct Registry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show and change the masters' registry: agents, frameworks, roles, resources, maintenance.",
        discussion: """
            Changes are guarded by the fence of the election `masters`: that of the master that leads now, or --fence N.
            Where nobody leads, the command leads for as long as it takes; a master that campaigns meanwhile comes next.
            While a registry is imported nothing else is changed, nor read; `status` says how far it is.

            What a rule refuses is not done at all, and ends with exit code 1 and RULE: which records, and why; with
            --json the error carries "rule" too. `quorate registry explain RULE` says more. In JSON, amounts are text,
            exact to a thousandth; times are milliseconds since 1970, by cluster time.

            What is listed from several tables may be of neighbouring revisions.
            """,
        subcommands: [
            RegistryStatus.self, RegistryAgents.self, RegistryFrameworks.self, RegistryRoles.self, RegistryQuota.self,
            RegistryWeights.self, RegistryResources.self, RegistryVolumes.self, RegistryOperations.self,
            RegistryMaintenance.self, RegistryImport.self, RegistryExport.self, RegistryExplain.self,
        ])
}

struct RegistryStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show who leads the masters, who took the registry over last, and what is counted once.")

    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let (book, leader) = try await ClusterClient.with(options) { cluster in
            var book = try await cluster.registry(RegistryPart.all(.registry), level: read.readLevel)
            // Nothing else is read meanwhile.
            if book.registry.importing == nil {
                book = try await cluster.registry(
                    RegistryPart.all(.registry, .capacity, .capabilities), level: read.readLevel)
            }
            let group = String(decoding: RegistryCommand.electionGroup, as: UTF8.self)
            return (book, try await cluster.client.leader(group, level: read.readLevel.level)?.ticket.fence)
        }
        RegistryOutput.one(book.statusLines(leader: leader), book.statusJSON(leader: leader), asJSON: options.json)
    }
}

extension RegistryBook {
    /// - Parameter leader: fence of the master that leads; nil: none does.
    func statusLines(leader: UInt64?) -> [String] {
        let limiter = registry.limiter
        var lines = [leader.map { "a master leads under fence \($0)" } ?? "no master leads"]
        if let master = registry.master {
            let address = "\(master.hostname.shown) \(master.ip.shown):\(master.port)"
            let time = Moment.text(registry.recoveredAt)
            lines.append("taken over by \(master.id.shown) (\(address)) under fence \(registry.fence), \(time)")
            if registry.fence != leader, leader != nil { lines.append("the master that leads has not taken over yet") }
        } else {
            lines.append("no master has taken over yet")
        }
        if let importing = registry.importing { return lines + [importing.text] }
        lines.append(
            "agents: \(registry.admittedCount) admitted, \(registry.deactivatedCount) deactivated; frameworks so far: "
                + "\(registry.frameworkCount); roles with quota: \(registry.quotaCount)")
        lines.append("capacity: \(capacity.text)")
        lines.append(
            "maintenance: " + (registry.windowCount.map { "a schedule of \($0) windows" } ?? "no schedule"))
        lines.append(
            "a master has to know: "
                + (capabilities.isEmpty ? "nothing" : capabilities.map(\.name.shown).joined(separator: ", ")))
        if limiter.windowEnd > 0 {
            let end = Moment.text(limiter.windowEnd)
            lines.append("agents that became unreachable: \(limiter.removed) of \(limiter.budget) until \(end)")
        }
        if limiter.approved > 0 {
            lines.append("approved of: \(limiter.approved) more until \(Moment.text(limiter.approvedUntil))")
        }
        if limiter.isAlarmed {
            lines.append(
                "ALARM: more agents have gone than is usual. If they are really away: `quorate registry agents "
                    + "approve-removals COUNT`")
        }
        return lines
    }

    func statusJSON(leader: UInt64?) -> JSON {
        let limiter = registry.limiter
        let isWhole = registry.importing == nil
        let capacity = isWhole ? self.capacity.json : JSON.null
        let capabilities = isWhole ? JSON.texts(self.capabilities.map(\.name)) : JSON.null
        return .object([
            ("leaderFence", .optional(leader)), ("master", registry.master?.id.json ?? .null),
            ("fence", .number(registry.fence)), ("recoveredAtMs", .milliseconds(registry.recoveredAt)),
            ("admitted", .number(registry.admittedCount)), ("deactivated", .number(registry.deactivatedCount)),
            ("frameworksSoFar", .number(registry.frameworkCount)), ("quotas", .number(registry.quotaCount)),
            ("capacity", capacity), ("windows", .optional(registry.windowCount.map { UInt64($0) })),
            ("minimumCapabilities", capabilities),
            (
                "removals",
                .object([
                    ("windowEndMs", .milliseconds(limiter.windowEnd)), ("removed", .number(limiter.removed)),
                    ("budget", .number(limiter.budget)), ("approved", .number(limiter.approved)),
                    ("approvedUntilMs", .milliseconds(limiter.approvedUntil)), ("alarm", .bool(limiter.isAlarmed)),
                ])
            ),
            ("importing", registry.importing?.json ?? .null),
        ])
    }
}

extension ImportProgress {
    /// What to do about it.
    fileprivate var text: String {
        guard !isAborting else {
            return "an import is being aborted, and nothing else is changed or read until nothing of it is left: "
                + "`quorate registry import --abort` again"
        }
        return "an import is under way, chunks that have come: \(chunks). Until the last nothing else is changed or "
            + "read. Go on with `quorate registry import FILE`, the same FILE (its SHA-256 begins with "
            + "\(id.hexadecimal)), or give it up with `quorate registry import --abort`"
    }

    fileprivate var json: JSON {
        .object([
            ("id", .string(id.hexadecimal)), ("chunks", .number(chunks)), ("aborting", .bool(isAborting)),
        ])
    }
}

struct RegistryExplain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Say what a rule of the registry means; without one, all of them.",
        discussion: "A first part alone, as agent or quota, names all rules that begin with it. Needs no cluster.")

    @Argument(help: ArgumentHelp("As a refusal names it, as agent.gone.", valueName: "RULE")) var rule: String?
    @Flag(help: "Print JSON, errors included.") var json = false

    func run() throws {
        for rule in try Self.rules(rule) {
            Output.line(
                json
                    ? JSON.object([("rule", .string(rule.rawValue)), ("text", .string(rule.text))]).text
                    : "\(rule.rawValue): \(rule.text)")
        }
    }

    /// - Throws: `notFound`.
    static func rules(_ name: String?) throws -> [RegistryRule] {
        guard let name else { return RegistryRule.allCases }
        if let rule = RegistryRule(rawValue: name) { return [rule] }
        let group = RegistryRule.allCases.filter { $0.rawValue.hasPrefix("\(name).") }
        guard group.isEmpty else { return group }
        let end = name.split(separator: ".").last ?? ""
        let near = RegistryRule.allCases.map(\.rawValue).filter { !end.isEmpty && $0.contains(end) }
        let hint =
            near.isEmpty ? "`quorate registry explain` lists all" : "there is \(near.prefix(5).joined(separator: ", "))"
        throw CommandError("notFound", "this release knows no rule \(name): \(hint)")
    }
}
