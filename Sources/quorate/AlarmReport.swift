internal import Client
internal import Glibc

/// What `alarm list` shows: the alarms that the nodes tell, and what only the one who asked them all can see. Pure.
struct AlarmReport {
    struct Entry: Hashable {
        var name: String
        /// The member that it is about; nil: the cluster.
        var node: String?
        /// Nanoseconds since 1970; nil when nobody has seen its beginning.
        var since: UInt64?
        var isActive: Bool
        var detail: String
        var remedy: String
    }

    let entries: [Entry]
    /// Members whose own alarms are not known, because they did not answer.
    let unheard: [String]

    /// - Parameter report: made of the same probes.
    init(_ report: StatusReport) {
        var found: [Entry] = []
        for node in report.nodes {
            for alarm in node.status?.alarms ?? [] {
                found.append(
                    Entry(
                        name: alarm.name, node: alarm.node, since: alarm.since, isActive: alarm.isActive,
                        detail: alarm.detail, remedy: alarm.remedy))
            }
        }
        let silent = report.nodes.filter { $0.status == nil && $0.name != nil }
        for node in silent where node.progress?.isReachable != true {
            if found.contains(where: { $0.name == "unreachable" && $0.node == node.name }) { continue }
            found.append(
                Entry(
                    name: "unreachable", node: node.name, since: nil, isActive: true,
                    detail: "it \(node.unreachableBecause ?? "did not answer")",
                    remedy: "start it, or mend the network to it"))
        }
        if report.clusterID != nil, !report.hasQuorum {
            found.append(
                Entry(
                    name: "noQuorum", node: nil, since: nil, isActive: true, detail: report.headline,
                    remedy: "start the members that are down; if most are lost for good: `quorate recover --help`"))
        }
        entries = found.sorted {
            ($0.node ?? "", $0.name, $0.since ?? 0, $0.detail) < ($1.node ?? "", $1.name, $1.since ?? 0, $1.detail)
        }
        unheard = silent.compactMap(\.name)
    }

    /// "damage, diskLow"
    var names: String {
        var names: [String] = []
        for entry in entries where !names.contains(entry.name) { names.append(entry.name) }
        return names.joined(separator: ", ")
    }

    /// nil when there is none.
    var hint: String? {
        guard !entries.isEmpty else { return nil }
        let count = entries.count == 1 ? "1 alarm stands" : "\(entries.count) alarms stand"
        return "\(count) (\(names)): run `quorate alarm list`"
    }

    var json: JSON {
        .object([
            (
                "alarms",
                .array(
                    entries.map { entry in
                        .object([
                            ("name", .string(entry.name)), ("node", .optional(entry.node)),
                            ("since", .optional(entry.since.map(Self.time))), ("active", .bool(entry.isActive)),
                            ("detail", .string(entry.detail)), ("remedy", .string(entry.remedy)),
                        ])
                    })
            ),
            ("unheard", .array(unheard.map { .string($0) })),
        ])
    }

    /// A line for each alarm, and below it what to do.
    var text: String {
        guard !entries.isEmpty else { return "no alarms" }
        let rows = entries.map { entry in
            [
                entry.node ?? "-", entry.name, entry.since.map(Self.time) ?? "-", entry.isActive ? "active" : "over",
                entry.detail,
            ]
        }
        let table = StatusReport.table([["NODE", "ALARM", "SINCE", "STATE", "DETAIL"]] + rows)
        var lines = [table[0]]
        for (line, entry) in zip(table.dropFirst(), entries) {
            lines.append(line)
            let clearing = entry.isActive ? "" : ", then `quorate alarm clear \(entry.name)`"
            lines.append("    do: \(entry.remedy)\(clearing)")
        }
        return lines.joined(separator: "\n")
    }

    /// "2026-11-21T10:36:14Z"
    static func time(_ nanoseconds: UInt64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func digits(_ number: Int32, _ count: Int) -> String {
            let text = "\(number)"
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let day = "\(digits(parts.tm_year + 1_900, 4))-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2))"
        return "\(day)T\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2))Z"
    }
}
