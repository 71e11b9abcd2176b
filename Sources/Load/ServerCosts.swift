/// What server processes on this machine take while something is measured.
struct ServerCosts {
    private let processes: [Int32]
    private var before: [ProcessFigures?] = []
    private var after: [ProcessFigures?] = []

    init(of processes: [Int32]) { self.processes = processes }

    mutating func begin() { before = figures() }
    mutating func end() { after = figures() }

    /// User and system time of all of them; nil when there is none, or one has ended.
    var cpuMicros: Double? {
        guard !processes.isEmpty else { return nil }
        var sum = 0.0
        for (before, after) in zip(before, after) {
            guard let before, let after else { return nil }
            sum += after.cpuMicros - before.cpuMicros
        }
        return sum
    }

    /// Of each at the end; nil when there is none, or one has ended.
    var residentBytes: [Int]? {
        let sizes = after.compactMap { $0?.residentBytes }
        return sizes.isEmpty || sizes.count < processes.count ? nil : sizes
    }

    private func figures() -> [ProcessFigures?] { processes.map { ProcessFigures(of: $0) } }
}
