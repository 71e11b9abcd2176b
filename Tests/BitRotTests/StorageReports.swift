import Foundation
import Synchronization

@testable import Server

/// What the threads of a node's storage report, for a test that waits for it.
final class StorageReports: Sendable {
    private let reports = Mutex<[StorageReport]>([])
    private let arrived = DispatchSemaphore(value: 0)

    var all: [StorageReport] { reports.withLock { $0 } }

    func take(_ report: StorageReport) {
        reports.withLock { $0.append(report) }
        arrived.signal()
    }

    /// - Returns: false when fewer than `count` reports of a kind have come after ten seconds.
    func wait(for count: Int = 1, _ isMeant: (StorageReport) -> Bool) -> Bool {
        let end = DispatchTime.now() + .seconds(10)
        while all.filter(isMeant).count < count {
            if arrived.wait(timeout: end) == .timedOut { return false }
        }
        return true
    }
}
