internal import LogFormat

/// The figures of one run.
package struct LoadReport: Sendable {
    /// A named part of the run.
    package struct Part: Sendable {
        package var name: String
        package var seconds: Double
        package var latencies: Latencies

        package init(name: String, seconds: Double = 0, latencies: Latencies = Latencies()) {
            self.name = name
            self.seconds = seconds
            self.latencies = latencies
        }

        package var operationsPerSecond: Double { Double(latencies.count) / max(seconds, 1e-9) }
    }

    /// What was measured.
    package var whole: Part
    /// By code. An error is not an operation.
    package var errors: [String: Int]
    /// What came before the measurement, if anything had to, and the windows that were asked for.
    package var parts: [Part]
    /// User and system time of all local nodes while it was measured; nil when none is known, or one has ended.
    package var serverCPUMicros: Double?
    /// Of each local node, at the end.
    package var residentBytes: [Int]?
    /// Of a request: bytes of the frame's body.
    package var bodySizeMean: Double?

    package init(
        whole: Part, errors: [String: Int] = [:], parts: [Part] = [], serverCPUMicros: Double? = nil,
        residentBytes: [Int]? = nil, bodySizeMean: Double? = nil
    ) {
        self.whole = whole
        self.errors = errors
        self.parts = parts
        self.serverCPUMicros = serverCPUMicros
        self.residentBytes = residentBytes
        self.bodySizeMean = bodySizeMean
    }

    package var operations: Int { whole.latencies.count }

    /// What a mutation takes of the log: a record, whose payload is the body that was sent, unchanged. All records that
    /// one sync makes durable share a batch's header besides (LogStore/FORMAT.md).
    package var logSizeMean: Double? { bodySizeMean.map { $0 + Double(RecordFormat.headerSize) } }

    package var serverCPUMicrosPerOperation: Double? {
        operations == 0 ? nil : serverCPUMicros.map { $0 / Double(operations) }
    }
}
