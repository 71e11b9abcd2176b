internal import Basics
internal import MetadataModel
internal import ReplicaCore
internal import Telemetry
internal import Wire

/// What `/livez` and `/readyz` look at. Live: restarting would not help. Ready: clients are served here.
enum Health {
    /// Committed entries that are not applied yet; above this a node is catching up, and what it serves is old.
    static let applyLagMax: UInt64 = 10_000

    static func live(_ inspection: NodeInspection?) -> HealthReport {
        var report = HealthReport()
        report.check(
            inspection != nil, ok: "the node answers",
            failed: "the node has not answered for 2 s: its event loop hangs. Restart it, and keep a stack trace")
        return report
    }

    static func ready(
        _ inspection: NodeInspection?, _ configuration: ServerConfiguration, at now: Instant
    ) -> HealthReport {
        var report = live(inspection)
        guard let inspection else { return report }
        let status = inspection.status
        let node = status.node
        report.check(
            status.identity != nil, ok: "belongs to cluster \(status.identity.map { "\($0)" } ?? "")",
            failed: "belongs to no cluster: for a new one run `quorate init` once when all nodes are up, for one that there "
                + "is `quorate member add` or `member replace`")
        guard status.identity != nil else { return report }
        report.check(
            node.state != .removed, ok: "is a member",
            failed: "was removed from the cluster: stop it and delete its data directory")
        report.check(
            node.state != .repairing, ok: "log whole", failed: "damaged log entries are being fetched from the others")
        guard let figures = inspection.figures else { return report }
        report.check(
            status.leader != nil, ok: leaderText(status, figures),
            failed: "no leader known: fewer than a majority of the members reach each other")
        report.check(
            node.state != .quarantined, ok: "state agrees with the majority",
            failed: "state differs from the majority's, or is missing, and is being rebuilt")
        let lag = UInt64(max(0, node.commitIndex.distance(after: node.lastApplied)))
        report.check(
            lag <= applyLagMax, ok: "applied \(node.lastApplied), \(lag) behind what is committed",
            failed: "catching up: applied \(node.lastApplied), \(lag) behind what is committed")
        checkDisk(inspection, reserve: UInt64(configuration.diskReserveSize), &report)
        let pending = figures.storage.meter.syncPending(at: now)
        report.check(
            pending <= configuration.diskStallTimeout, ok: "disk writes end in time",
            failed: "a write to the log has taken \(pending.nanoseconds / 1_000_000) ms and has not ended")
        report.check(node.state != .stopping, ok: "serves", failed: "is stopping")
        return report
    }

    private static func checkDisk(_ inspection: NodeInspection, reserve: UInt64, _ report: inout HealthReport) {
        let free = inspection.status.node.diskFree
        report.check(
            free >= reserve && inspection.status.node.state != .diskLow, ok: "disk has \(ByteCount.text(free)) free",
            failed: "disk has \(ByteCount.text(free)) free, below its reserve of \(ByteCount.text(reserve))")
    }

    private static func leaderText(_ status: StatusReply, _ figures: NodeFigures) -> String {
        guard let leader = status.leader else { return "" }
        let silence = figures.replica.leaderSilence ?? .zero
        return status.node.role == .leader
            ? "leader known: this node" : "leader known: \(leader.name), heard \(silence.nanoseconds / 1_000_000) ms ago"
    }
}

/// Sizes as people read them.
enum ByteCount {
    static func text(_ bytes: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"]
        var value = bytes
        var unit = 0
        while value >= 10_240, unit < units.count - 1 {
            value /= 1_024
            unit += 1
        }
        return "\(value) \(units[unit])"
    }
}
