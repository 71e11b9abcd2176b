// swift-tools-version: 6.2
// The rooms of the house and the arrows between them; ARCHITECTURE.md says what each is for. Build with
// `--explicit-target-dependency-import-check error`: then an import that has no arrow here does not compile.
import PackageDescription

// FUZZ=address: with AddressSanitizer too; a debug build, in which only our own code is optimised, is soon made.
// FUZZ=coverage: only what steers the fuzzer, several times as fast; a release build.
let fuzzing: [String]? =
    switch Context.environment["FUZZ"] {
    case "address": ["-sanitize=fuzzer,address", "-O"]
    case "coverage": ["-sanitize=fuzzer"]
    default: nil
    }
// Bugs that are planted to see whether the simulator finds them (ops/mutants); no other build contains them.
let planted: [SwiftSetting] = Context.environment["MUTANTS"] == "1" ? [.define("MUTANTS")] : []

let common: [SwiftSetting] = planted + [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]
// OPTIMIZED=1: a debug build in which our own code is optimised, so that simulated worlds run several times as fast. All
// checks stay: arithmetic, bounds, exclusive access and invariants do not depend on the build.
let optimizing: [String]? = Context.environment["OPTIMIZED"] == "1" ? ["-O"] : nil
let flagged: [SwiftSetting] = (fuzzing ?? optimizing).map { [.unsafeFlags($0)] } ?? []

/// A function of its inputs: no clock, no chance, no IO, no tasks. Every unsafe expression is marked.
func pure(_ name: String, _ rooms: [Target.Dependency], documents: [String] = []) -> Target {
    .target(name: name, dependencies: rooms, exclude: documents, swiftSettings: common + [.strictMemorySafety()] + flagged)
}

/// May touch the world: disk, network, threads.
func impure(_ name: String, _ rooms: [Target.Dependency], documents: [String] = []) -> Target {
    .target(name: name, dependencies: rooms, exclude: documents, swiftSettings: common + flagged)
}

func command(_ name: String, _ rooms: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: rooms, swiftSettings: common)
}

func tests(_ name: String, _ rooms: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: rooms, exclude: exclude, swiftSettings: common)
}

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioHTTP = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")

/// What speaks with a cluster by the public client only.
func example(_ name: String) -> Target {
    .executableTarget(
        name: "example-\(name)", dependencies: ["Client", "ExampleMail", "RegistryModel", argumentParser],
        path: "clients/examples/\(name)", swiftSettings: common)
}

let package = Package(
    name: "quorate",
    products: [
        .executable(name: "quorate", targets: ["quorate"]),
        .executable(name: "quorate-sim", targets: ["quorate-sim"]),
        .library(name: "QuorateClient", targets: ["Client", "RegistryModel"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        .package(url: "https://github.com/LebJe/TOMLKit.git", from: "0.6.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift.git", from: "0.2.0"),
    ],
    targets: [
        // PURE
        .target(name: "CBasics"),
        pure("Basics", ["CBasics"]),
        pure("LogFormat", ["Basics"]),
        pure("RaftCore", ["Basics"]),
        pure("RegistryModel", ["Basics", crypto]),
        pure("RegistryMachine", ["Basics", "RegistryModel"]),
        pure("MetadataModel", ["Basics", "RegistryModel"]),
        pure("StateEngine", ["Basics"]),
        pure(
            "MetadataMachine",
            ["Basics", "LogFormat", "MetadataModel", "RegistryMachine", "RegistryModel", "StateEngine"],
            documents: ["FORMAT.md"]),
        pure("Wire", ["Basics", "LogFormat", "MetadataModel", "RaftCore"]),
        pure("ReplicaCore", ["Basics", "LogFormat", "MetadataModel", "RaftCore", "Wire"]),
        pure("ClientCore", ["Basics", "MetadataModel", "Wire"]),

        // DISK
        impure("Disk", ["Basics"]),
        impure("LogStore", ["Basics", "Disk", "LogFormat", "RaftCore"], documents: ["FORMAT.md"]),
        .systemLibrary(name: "CZstd", providers: [.apt(["libzstd-dev"])]),
        impure("Snapshots", ["Basics", "CZstd", "StateEngine", crypto], documents: ["FORMAT.md"]),
        .systemLibrary(name: "CRocksDB", providers: [.apt(["librocksdb-dev"])]),
        impure("RocksEngine", ["Basics", "CRocksDB", "StateEngine"]),

        impure(
            "ReplicaStorage",
            [
                "Basics", "Disk", "LogFormat", "LogStore", "MetadataMachine", "MetadataModel", "RaftCore",
                "ReplicaCore", "Snapshots", "StateEngine", "Wire",
            ]),

        // NETWORK
        impure("Transport", ["Basics", "Wire", nioCore, nioPosix, nioSSL, nioTLS]),

        impure("Telemetry", ["Basics", nioCore, nioPosix, nioHTTP]),

        // ROOF
        impure(
            "Client",
            ["Basics", "ClientCore", "MetadataModel", "RegistryModel", "Transport", "Wire", nioCore, nioPosix]),
        impure(
            "Server",
            [
                "Basics", "Disk", "LogFormat", "LogStore", "MetadataMachine", "MetadataModel", "RaftCore",
                "ReplicaCore", "ReplicaStorage", "RocksEngine", "Snapshots", "StateEngine", "Telemetry", "Transport",
                "Wire", logging, nioCore, nioPosix,
            ]),
        impure("MesosRegistry", ["Basics", "RegistryModel"]),
        impure(
            "Load",
            [
                "Basics", "LogFormat", "MetadataModel", "RegistryModel", "Transport", "Wire", histogram, nioCore,
                nioPosix,
            ]),
        command(
            "quorate",
            ["Basics", "Client", "Load", "MesosRegistry", "RegistryModel", "Server", argumentParser, crypto, "TOMLKit"]),

        // GARDEN
        impure(
            "Simulator",
            [
                "Basics", "ClientCore", "Disk", "LogFormat", "LogStore", "MetadataMachine", "MetadataModel",
                "RaftCore", "RegistryMachine", "RegistryModel", "ReplicaCore", "ReplicaStorage", "Snapshots",
                "StateEngine", "Wire",
            ]),
        command("quorate-sim", ["Basics", "Simulator", argumentParser]),

        // EXAMPLES
        .target(
            name: "ExampleMail", dependencies: ["Client", argumentParser], path: "clients/examples/mail",
            swiftSettings: common),
        example("master"),
        example("agent"),
        example("framework"),

        // TESTS
        tests("HouseTests", []),
        tests("BasicsTests", ["Basics", "LogFormat"]),
        tests("RaftCoreTests", ["Basics", "RaftCore"], exclude: ["Scripts"]),
        tests("MetadataModelTests", ["Basics", "MetadataModel", "RegistryModel"]),
        tests("RegistryModelTests", ["Basics", "RegistryModel"]),
        tests("RegistryMachineTests", ["RegistryModel", "RegistryMachine"]),
        tests("MesosRegistryTests", ["MesosRegistry", "RegistryMachine", "RegistryModel"]),
        tests(
            "MetadataMachineTests",
            ["Basics", "LogFormat", "MetadataMachine", "MetadataModel", "RegistryModel", "StateEngine"],
            exclude: ["Golden"]),
        tests("ReplicaCoreTests", ["Basics", "LogFormat", "MetadataModel", "RaftCore", "ReplicaCore", "Wire"]),
        tests("EngineConformanceTests", ["Basics", "RocksEngine", "StateEngine"]),
        tests("RocksEngineTests", ["Basics", "RocksEngine", "StateEngine"]),
        tests("SnapshotsTests", ["Basics", "RocksEngine", "Snapshots", "StateEngine"]),
        tests("WireTests", ["Basics", "LogFormat", "MetadataModel", "RaftCore", "RegistryModel", "Wire"]),
        tests("ClientCoreTests", ["Basics", "ClientCore", "MetadataModel", "Wire"]),
        tests("DiskTests", ["Basics", "Disk"]),
        tests("LogStoreTests", ["Basics", "Disk", "LogFormat", "LogStore", "RaftCore"], exclude: ["Golden"]),
        tests("ClientTests", ["Basics", "Client", "ClientCore", "MetadataModel", "Transport", "Wire", nioCore, nioPosix]),
        tests(
            "LoadTests",
            ["Basics", "Load", "MetadataModel", "RegistryMachine", "RegistryModel", "Wire", nioCore]),
        tests(
            "QuorateCommandTests",
            [
                "quorate", "Basics", "Client", "Load", "MesosRegistry", "MetadataModel", "RegistryModel", "Server", "Wire",
                argumentParser, crypto,
            ]),
        tests(
            "ServerTests",
            ["Basics", "Client", "Disk", "LogStore", "MetadataModel", "RaftCore", "RegistryModel", "Wire"]),
        tests(
            "SimulationTests",
            [
                "Basics", "ClientCore", "Disk", "LogFormat", "LogStore", "MetadataModel", "RaftCore", "RegistryModel",
                "Simulator", "StateEngine", "Wire",
            ]),
        tests(
            "BitRotTests",
            [
                "Basics", "Disk", "LogFormat", "LogStore", "MetadataMachine", "MetadataModel", "RaftCore",
                "ReplicaCore", "ReplicaStorage", "Server", "Snapshots", "StateEngine", "Wire", logging,
            ]),
        tests("TelemetryTests", ["Basics", "Server", "Telemetry", logging, nioCore, nioPosix]),
        tests("TransportTests", ["Basics", "Transport", "Wire", nioCore, nioPosix]),
    ],
    swiftLanguageModes: [.v6]
)

// Fuzzing (FUZZ=…, by ops/fuzz) instruments the rooms, leaves away what no target needs, and adds a command for each
// group of decoders that meet foreign bytes.
if let fuzzing {
    func fuzzTarget(_ name: String, _ rooms: [Target.Dependency]) -> Target {
        .executableTarget(
            name: name, dependencies: rooms + ["Basics", "FuzzSupport"], path: "Fuzz/\(name)",
            swiftSettings: common + [.unsafeFlags(fuzzing)], linkerSettings: [.unsafeFlags([fuzzing[0]])])
    }
    func part(_ name: String, _ rooms: [Target.Dependency]) -> Target {
        .target(name: name, dependencies: rooms, path: "Fuzz/Rooms/\(name)", swiftSettings: common + flagged)
    }
    let rooms: Set = [
        "CBasics", "Basics", "LogFormat", "RaftCore", "RegistryModel", "RegistryMachine", "MetadataModel", "StateEngine",
        "MetadataMachine", "Wire", "ReplicaCore", "ClientCore", "Disk", "LogStore", "CZstd", "Snapshots", "ReplicaStorage",
    ]
    package.products = []
    package.targets = package.targets.filter { rooms.contains($0.name) }
    package.targets += [
        .target(
            name: "FuzzSupport", dependencies: ["Basics"], path: "Fuzz/Support",
            swiftSettings: common + [.unsafeFlags(fuzzing)]),
        fuzzTarget("FrameFuzz", ["LogFormat", "MetadataModel", "RaftCore", "Wire"]),
        fuzzTarget("ClientFuzz", ["ClientCore", "MetadataModel", "Wire"]),
        fuzzTarget(
            "CommandFuzz",
            ["LogFormat", "MetadataMachine", "MetadataModel", "RegistryMachine", "RegistryModel", "StateEngine"]),
        fuzzTarget("FileFuzz", ["LogStore", "MetadataModel", "ReplicaCore", "ReplicaStorage"]),
        fuzzTarget("RecordFuzz", ["Disk", "LogFormat", "LogStore", "MetadataModel", "RaftCore"]),
        fuzzTarget("RowFuzz", ["LogFormat", "MetadataMachine", "MetadataModel", "RegistryModel", "StateEngine"]),
        fuzzTarget("SnapshotFuzz", ["MetadataMachine", "MetadataModel", "Snapshots", "StateEngine"]),
        // Of these two rooms only values that the command's texts are read into: the rest would bring the network.
        part("Client", ["Basics", "MetadataModel"]),
        part("Server", ["Basics", "LogStore"]),
        fuzzTarget("TextFuzz", ["Client", "MetadataModel", "Server", argumentParser, crypto, "TOMLKit"]),
    ]
}

// The parts of a write, for a tool that counts instructions (GUARD=1, by bench/guard).
if Context.environment["GUARD"] == "1" {
    package.targets.append(
        .executableTarget(
            name: "quorate-guard",
            dependencies: [
                "Basics", "Disk", "LogFormat", "LogStore", "MetadataMachine", "MetadataModel", "RaftCore", "StateEngine",
                "Wire",
            ],
            path: "bench/quorate-guard", swiftSettings: common))
}

// Real processes under faults (TORTURE=1), for the checkers of the garden to judge.
if Context.environment["TORTURE"] == "1" {
    package.targets.append(
        .executableTarget(
            name: "quorate-torture",
            dependencies: ["Basics", "Client", "MetadataModel", "Simulator", "Wire", argumentParser],
            path: "ops/quorate-torture", exclude: ["README.md", "failing-sync.c"], swiftSettings: common))
}
