internal import ArgumentParser
internal import Basics
internal import Client
internal import RegistryModel

/// For commands that change the registry.
struct RegistryChangeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Only while this fence of the election `masters` holds.",
            discussion: "Default: that of the master that leads; where nobody does, this command leads while it runs.",
            valueName: "N"))
    var fence: UInt64?

    @OptionGroup var options: ClientOptions

    mutating func validate() throws {
        if fence == 0 { throw ValidationError("--fence must be 1 or more.") }
    }

    /// Carries the command out, and says what it did.
    /// - Parameters:
    ///   - done: what is so now.
    ///   - further: what JSON says besides.
    func carryOut(_ command: RegistryCommand, _ done: String, _ further: [(String, JSON)] = []) async throws {
        let outcome = try await ClusterClient.with(options) { cluster in
            try await carryOut(command, cluster)
        }
        tell(outcome, done, further)
    }

    func carryOut(_ command: RegistryCommand, _ cluster: ClusterClient) async throws -> RegistryOutcome {
        let patience = Duration.nanoseconds(options.timeout.interval.nanoseconds)
        return try await cluster.change(command, fence: fence, patience: patience)
    }

    func tell(_ outcome: RegistryOutcome, _ done: String, _ further: [(String, JSON)] = []) {
        let first = outcome.isChanged ? done : "nothing to change: \(done)"
        var members: [(String, JSON)] = [
            ("changed", .bool(outcome.isChanged)), ("revision", .number(outcome.revision)),
        ]
        members += further
        members += outcome.members
        RegistryOutput.one([first] + outcome.lines, .object(members), asJSON: options.json)
    }
}

/// What a change did.
struct RegistryOutcome: Hashable {
    /// False: it was so already.
    var isChanged: Bool
    var result: RegistryResult
    var revision: UInt64

    /// - Throws: when it was put off.
    init(_ reply: RegistryReply, revision: UInt64) throws {
        self.revision = revision
        (result, isChanged) = try reply.outcome()
    }

    var members: [(String, JSON)] {
        switch result {
        // These answer masters, agents, frameworks and imports.
        case .nothing, .attached, .report, .framework, .status, .imported: []
        case .generation(let generation): [("generation", .number(generation))]
        case .lostVolumes(let volumes): [("lostVolumes", .array(volumes.map(\.json)))]
        case .pruned(let deleted, let skipped):
            [
                ("deleted", .texts(deleted.map(\.bytes))),
                ("skipped", .texts(Self.skipped(skipped, deleted).map(\.bytes))),
            ]
        case .agents(let ids): [("unreachable", .texts(ids.map(\.bytes)))]
        case .consumption(let roles):
            [
                (
                    "roles",
                    .array(
                        roles.map { .object([("role", $0.role.bytes.json), ("consumption", $0.quantities.json)]) })
                )
            ]
        case .operations(let outcomes):
            outcomes.compactMap(\.done).flatMap { outcome -> [(String, JSON)] in
                [
                    ("generation", .number(outcome.generation)),
                    ("converted", .array(outcome.converted.map(\.json))),
                ]
            }
        }
    }

    var lines: [String] {
        switch result {
        case .nothing, .attached, .report, .framework, .status, .imported: []
        case .generation(let generation): ["generation \(generation)"]
        case .lostVolumes(let volumes):
            volumes.map { "lost: volume \($0.id.bytes.shown) of role \($0.role.bytes.shown)" }
        case .pruned(let deleted, let skipped):
            deleted.map { "forgotten: \($0.bytes.shown)" }
                + Self.skipped(skipped, deleted).map { "left alone: \($0.bytes.shown)" }
        case .agents(let ids): ids.map { "unreachable from now on: agent \($0.bytes.shown)" }
        case .consumption(let roles): roles.map { "role \($0.role.bytes.shown) uses \($0.quantities.text)" }
        case .operations(let outcomes):
            outcomes.compactMap(\.done).flatMap { outcome -> [String] in
                outcome.converted.map { ResourceNotation.text($0) } + ["generation \(outcome.generation)"]
            }
        }
    }

    /// Each agent is asked for in both lists of a pruning; it is left alone if neither did anything.
    private static func skipped(_ skipped: [RegistryID], _ deleted: [RegistryID]) -> [RegistryID] {
        Set(skipped).subtracting(deleted).sorted()
    }
}

extension OperationOutcome {
    fileprivate var done: OperationRow.Outcome? {
        guard case .done(let outcome) = self else { return nil }
        return outcome
    }
}

extension VolumeID {
    fileprivate var json: JSON {
        .object([("agent", agentID.bytes.json), ("role", role.bytes.json), ("id", id.bytes.json)])
    }
}

extension ClusterClient {
    private static var masters: String { String(decoding: RegistryCommand.electionGroup, as: UTF8.self) }

    /// Carries the command out under the fence of the master that leads; where nobody does, as the leader.
    /// - Parameter patience: for how long others may come first.
    func change(_ command: RegistryCommand, fence: UInt64?, patience: Duration) async throws -> RegistryOutcome {
        var known = fence
        if known == nil { known = try await client.leader(Self.masters)?.ticket.fence }
        if let known { return try await change(command, under: .election(Self.masters, known)) }
        let ticket = try await client.campaign(Self.masters, data: Array("quorate registry".utf8))
        let result: Result<RegistryOutcome, any Error>
        do {
            let fence = try await client.waitToLead(Self.masters, ticket, deadline: patience)
            result = .success(try await change(command, under: fence))
        } catch {
            result = .failure(error)
        }
        // The end of the session, which comes next, takes the place in the line away too.
        _ = try? await client.withdraw(Self.masters)
        return try result.get()
    }

    private func change(_ command: RegistryCommand, under fence: Fence) async throws -> RegistryOutcome {
        let (reply, revision) = try await MasterRegistry(client, fence: fence).change(command)
        return try RegistryOutcome(reply, revision: revision)
    }
}
