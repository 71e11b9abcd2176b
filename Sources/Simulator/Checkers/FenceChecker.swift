package import Basics
package import MetadataModel

/// Of the writes that clients make under the fences of elections and locks, those that took effect, in the order of the
/// log. Whoever writes names himself in the value. A former leader or holder must never be heard again once its successor
/// was, and no two clients under one fence.
package struct FenceChecker {
    private struct Line {
        var highest: UInt64 = 0
        var highestExclusive: UInt64 = 0
        /// By fence; not of shared locks.
        var writers: [UInt64: UInt32] = [:]
    }

    private var lines: [String: Line] = [:]
    package private(set) var acceptedCount = 0
    package private(set) var fenceCount = 0

    package init() {}

    /// - Parameter writer: who wrote.
    /// - Returns: what is wrong.
    package mutating func accepted(_ condition: Guard, isShared: Bool, by writer: UInt32, at index: LogIndex) -> String? {
        let name = "\(condition.kind) \(String(decoding: condition.name, as: UTF8.self))"
        let fence = condition.fence
        acceptedCount += 1
        var line = lines[name] ?? Line()
        defer { lines[name] = line }
        guard fence < index.rawValue else {
            return "a write at \(index) under fence \(fence) of \(name), which is not yet"
        }
        let passedBy = isShared ? line.highestExclusive : line.highest
        guard fence >= passedBy else {
            return "a write at \(index) under fence \(fence) of \(name), after one under fence \(passedBy)"
        }
        if fence > line.highest { fenceCount += 1 }
        line.highest = max(line.highest, fence)
        guard !isShared else { return nil }
        line.highestExclusive = fence
        guard let other = line.writers.updateValue(writer, forKey: fence), other != writer else { return nil }
        return "clients \(other) and \(writer) both write under fence \(fence) of \(name)"
    }
}

extension CommitOracle {
    /// Looks at a put that took effect, if it is one under a fence.
    mutating func noteFenced(
        _ header: CommandHeader, _ body: RawSpan, at index: LogIndex
    ) throws(DecodeError) -> String? {
        guard header.kind == .put, let condition = header.guards.first else { return nil }
        var reader = ByteReader(body)
        let put = try PutBody(decoding: &reader)
        let writer = Workload.number(of: [UInt8](put.value))
        let isShared = [UInt8](put.key).last == UInt8(ascii: "s")
        return fences.accepted(condition, isShared: isShared, by: writer, at: index)
    }
}
