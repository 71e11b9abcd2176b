internal import NIOCore

/// What counts of a run. A request counts by the time at which it was due: those due while it is measured do, however
/// late their replies come, and no others.
struct LoadTally {
    private struct Span {
        var begin = NIODeadline.distantFuture
        var end = NIODeadline.distantFuture
        var latencies = Latencies()

        func contains(_ time: NIODeadline) -> Bool { begin <= time && time < end }

        func part(_ name: String) -> LoadReport.Part {
            LoadReport.Part(name: name, seconds: Double((end - begin).nanoseconds) / 1e9, latencies: latencies)
        }
    }

    private var measured = Span()
    /// Each ends where the next begins.
    private var named: [(name: String, span: Span)] = []
    private(set) var errors: [String: Int] = [:]
    /// Of what was sent.
    private var sentCount = 0
    private var sentSize = 0

    var end: NIODeadline { measured.end }

    mutating func begin(at now: NIODeadline) { measured.begin = now }

    mutating func end(at now: NIODeadline) {
        measured.end = now
        endPart(at: now)
    }

    /// What is due from now on counts for the part of this name, whether it is measured or not.
    mutating func beginPart(_ name: String, at now: NIODeadline) {
        endPart(at: now)
        named.append((name, Span(begin: now)))
    }

    mutating func endPart(at now: NIODeadline) {
        guard let last = named.indices.last, named[last].span.end > now else { return }
        named[last].span.end = now
    }

    func isMeasured(_ due: NIODeadline) -> Bool { measured.contains(due) }

    /// - Parameter count: of operations that one request asked for.
    mutating func succeeded(due: NIODeadline, at now: NIODeadline, count: Int = 1) {
        let nanoseconds = (now - due).nanoseconds
        if measured.contains(due) { measured.latencies.record(nanoseconds: nanoseconds, count: count) }
        // Nearly always the last.
        guard let place = named.lastIndex(where: { $0.span.contains(due) }) else { return }
        named[place].span.latencies.record(nanoseconds: nanoseconds, count: count)
    }

    mutating func sent(bodySize: Int, due: NIODeadline) {
        guard measured.contains(due) else { return }
        sentCount += 1
        sentSize += bodySize
    }

    mutating func failed(_ code: String, due: NIODeadline) {
        if measured.contains(due) { count(code) }
    }

    /// Of what is no request by itself, or never became one.
    mutating func count(_ code: String, times: Int = 1) {
        if times > 0 { errors[code, default: 0] += times }
    }

    /// Of a run that has ended.
    func report(_ name: String) -> LoadReport {
        LoadReport(
            whole: measured.part(name), errors: errors, parts: named.map { $0.span.part($0.name) },
            bodySizeMean: sentCount == 0 ? nil : Double(sentSize) / Double(sentCount))
    }
}
