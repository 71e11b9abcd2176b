import Disk
import Foundation
import Logging
import ReplicaCore
import ReplicaStorage
import Testing

@testable import Server

/// The alarms of a node that is starting.
@Suite struct EarlyAlarmsTests {
    private func alarms(in directory: String) -> EarlyAlarms {
        EarlyAlarms(
            node: "n1", directory: directory, fileSystem: PosixFileSystem(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Test("one that cannot be noted stands all the same, and is known not to be on disk")
    func notNoted() throws {
        let directory = "\(NSTemporaryDirectory())/quorate-early-alarms-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var alarms = alarms(in: directory)
        #expect(alarms.stored == [])
        alarms.raiseDamage(["log"])
        #expect(alarms.tellOfDamage && alarms.stored == nil)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        alarms.raiseDamage([])
        #expect(alarms.stored == alarms.latched)
        #expect(try AlarmMemory.load(from: directory, on: PosixFileSystem()) == alarms.latched)
    }

    @Test("a damaged file is not what stands on disk")
    func damagedFile() throws {
        let directory = "\(NSTemporaryDirectory())/quorate-early-alarms-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = "\(directory)/\(AlarmMemory.fileName)"
        try Data("rot".utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        let alarms = alarms(in: directory)
        #expect(alarms.tellOfDamage && alarms.stored == nil)
    }
}
