internal import ArgumentParser
internal import Basics
internal import Server

struct Recover: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Go on from one data directory when a majority of the nodes is lost for good.",
        discussion: """
            Only when the others cannot come back: what they had acknowledged and this directory does not hold is lost.
            Without --accept-data-loss nothing is changed: it prints what would be kept and what may be lost. Run that
            on every survivor, and recover the one whose last entry has the highest term, and the highest index in it.

            The node is stopped. Afterwards it is the only member of a cluster of a new generation: start it, add new
            members to it. Old members and clients of the old generation are told that the generation has changed. What
            the directory held is kept below it, in before-recovery-GENERATION.
            """)

    @Option(help: ArgumentHelp("The data directory of the survivor.", valueName: "DIR")) var data: String
    @Option(help: ArgumentHelp("Its name.", valueName: "NAME")) var name: String
    @Option(help: ArgumentHelp("Its peer address, as in NAME=HOST:PORT.", valueName: "NAME=HOST:PORT")) var cluster:
        String
    @Flag(help: "Carry it out.") var acceptDataLoss = false
    @Flag(help: "Print JSON.") var json = false

    private var peerAddress: String? {
        let members = cluster.split(separator: ",", omittingEmptySubsequences: false)
        guard members.count == 1, let equals = cluster.firstIndex(of: "="), cluster[..<equals] == name else {
            return nil
        }
        return String(cluster[cluster.index(after: equals)...])
    }

    mutating func validate() throws {
        guard let address = peerAddress, HostPort(address) != nil else {
            throw ValidationError(
                "--cluster names the recovered node alone, with its peer address: --cluster \(name)=HOST:PORT. Other "
                    + "members are added once it runs.")
        }
    }

    func run() throws {
        try DataOwner.check(data, for: "recover")
        try Offline.refusing {
            if try ClusterRecovery.finishInterrupted(in: data) {
                let text = "the recovery of \(data) that was interrupted is done; start the node"
                return Output.line(json ? JSON.object([("recovered", .bool(true))]).text : text)
            }
            let recovery = try ClusterRecovery(directory: data, name: name, peerAddress: peerAddress ?? "")
            if acceptDataLoss { try recovery.carryOut() }
            let plan = recovery.plan
            Output.line(json ? plan.json(isDone: acceptDataLoss).text : plan.text(isDone: acceptDataLoss))
        }
        guard acceptDataLoss else { throw ExitCode(1) }
    }
}

extension RecoveryPlan {
    fileprivate func text(isDone: Bool) -> String {
        var lines = [
            "cluster \(cluster), generation \(generation), of \(members.joined(separator: ", "))",
            "last entry: term \(lastTerm), index \(lastIndex), of \(ClusterDate.text(lastTime))",
            "committed for certain: through index \(appliedIndex), of \(ClusterDate.text(appliedTime))",
        ]
        if let uncertain {
            lines.append(
                "kept, though they may never have been committed: \(uncertain.count) entries, "
                    + "\(uncertain.lowerBound) to \(uncertain.upperBound)")
        }
        if let damaged {
            lines.append(
                "lost: entries \(damaged.lowerBound) to \(damaged.upperBound), which are damaged or come after damage")
        }
        lines.append(
            "may be lost: everything that the other members acknowledged after index \(lastIndex), and all sessions")
        lines.append(
            isDone
                ? "done: \(name)=\(peerAddress) is the only member of generation \(generation + 1); start it. The old "
                    + "content is in \(oldContent)"
                : "nothing was changed. With --accept-data-loss, \(name)=\(peerAddress) becomes the only member of "
                    + "generation \(generation + 1), and the old content moves to \(oldContent)")
        return lines.joined(separator: "\n")
    }

    fileprivate func json(isDone: Bool) -> JSON {
        func range(_ range: ClosedRange<UInt64>?) -> JSON {
            range.map { .object([("firstIndex", .number($0.lowerBound)), ("lastIndex", .number($0.upperBound))]) }
                ?? .null
        }
        return .object([
            ("recovered", .bool(isDone)), ("cluster", .string(cluster)), ("oldGeneration", .number(generation)),
            ("newGeneration", .number(generation + 1)), ("members", .array(members.map { .string($0) })),
            ("lastTerm", .number(lastTerm)), ("lastIndex", .number(lastIndex)), ("lastTime", .number(lastTime)),
            ("committedIndex", .number(appliedIndex)), ("committedTime", .number(appliedTime)),
            ("uncertain", range(uncertain)), ("damaged", range(damaged)), ("oldContent", .string(oldContent)),
        ])
    }
}
