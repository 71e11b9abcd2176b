/// The figures of a run of the registry.
package struct RegistryReport: Sendable {
    /// How the registry came to be what it is; each part ends when all of it is there.
    package var filling: [LoadReport] = []
    /// Plain puts, and what masters do, by one connection one at a time.
    package var alone: [LoadReport] = []
    /// The same with many under way.
    package var together: [LoadReport] = []
    package var reading: Reading?
    package var takeOver: TakeOver?
    package var heartBeats: HeartBeats?

    package init() {}

    /// All records at one revision, as a new master reads them.
    package struct Reading: Sendable {
        package var recordCount: Int
        /// Bytes of keys and values.
        package var size: Int
        /// Of each time that everything was read.
        package var seconds: [Double]
        /// Puts at a fixed rate: before, as the part `calm`, and meanwhile.
        package var writes: LoadReport

        package init(recordCount: Int, size: Int, seconds: [Double], writes: LoadReport) {
            self.recordCount = recordCount
            self.size = size
            self.seconds = seconds
            self.writes = writes
        }

        package var recordsPerSecond: Double {
            Double(recordCount * seconds.count) / max(seconds.reduce(0, +), 1e-9)
        }
    }

    /// Times are from the loss of the former master, or from when this one leads where nobody told of a loss.
    package struct TakeOver: Sendable {
        package var agents: Int
        package var leadsAfter: Double
        /// Its first command was carried out.
        package var recoveredAfter: Double
        /// All agents are attached again.
        package var attachedAfter: Double
        package var attaching: LoadReport

        package init(
            agents: Int, leadsAfter: Double, recoveredAfter: Double, attachedAfter: Double, attaching: LoadReport
        ) {
            self.agents = agents
            self.leadsAfter = leadsAfter
            self.recoveredAfter = recoveredAfter
            self.attachedAfter = attachedAfter
            self.attaching = attaching
        }
    }

    package struct HeartBeats: Sendable {
        package var agents: Int
        package var seconds: Double
        /// By which the log has grown meanwhile, whoever wrote them.
        package var logEntries: Int
        package var keepAlives: LoadReport

        package init(agents: Int, seconds: Double, logEntries: Int, keepAlives: LoadReport) {
            self.agents = agents
            self.seconds = seconds
            self.logEntries = logEntries
            self.keepAlives = keepAlives
        }

        package var logEntriesPerSecond: Double { Double(logEntries) / max(seconds, 1e-9) }
    }
}
