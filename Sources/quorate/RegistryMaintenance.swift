internal import ArgumentParser
internal import FoundationEssentials
internal import RegistryModel

struct RegistryMaintenance: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "maintenance", abstract: "Say when machines are not there, and take them down and up.",
        discussion: """
            A machine is written HOSTNAME/IP, as an agent on it states both; HOSTNAME or /IP alone names a machine, but
            no agent is on one that has only a half. A machine in the schedule is draining; `start` takes it down, and
            the agents on it become unreachable; `stop` brings it back, and takes it out of the schedule.
            """,
        subcommands: [
            RegistryMaintenanceShow.self, RegistryMaintenanceSchedule.self, RegistryMaintenanceClear.self,
            RegistryMaintenanceStart.self, RegistryMaintenanceStop.self,
        ], defaultSubcommand: RegistryMaintenanceShow.self)
}

struct RegistryMaintenanceShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show the schedule, and how each machine is.",
        discussion: """
            With --json {"schedule":S,"machines":[…]}, where S is what `schedule` takes, or null while there is none.
            """)

    @OptionGroup var read: ReadOptions
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let book = try await ClusterClient.with(options) { cluster in
            try await cluster.registry(RegistryPart.all(.registry, .machines, .windows), level: read.readLevel)
        }
        RegistryOutput.one(book.maintenanceLines(), book.maintenanceJSON(), asJSON: options.json)
    }
}

struct RegistryMaintenanceSchedule: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "schedule", abstract: "Replace the schedule.",
        discussion: """
            FILE holds Mesos' JSON of a schedule, times in nanoseconds since 1970:
              {"windows":[{"machine_ids":[{"hostname":"h1","ip":"10.0.0.1"}],
                           "unavailability":{"start":{"nanoseconds":N},"duration":{"nanoseconds":N}}}]}
            Without a duration a machine is away for ever. Machines that are down have to stay in it; others that are
            not in it any more are up. {} is a schedule without windows; `clear` takes the schedule away.
            """)

    @Argument(help: ArgumentHelp("The file; - for standard input.", valueName: "FILE")) var file: String
    @OptionGroup var change: RegistryChangeOptions

    /// Far above the largest schedule that fits a command.
    private static let sizeMax = 64 << 20

    func run() async throws {
        let windows = try ScheduleFile.parse(
            try InputFile.read(file, sizeMax: Self.sizeMax), name: InputFile.name(file))
        try await change.carryOut(
            .scheduleUpdate(windows), "a schedule of \(windows.count) window\(windows.count == 1 ? "" : "s")")
    }
}

struct RegistryMaintenanceClear: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear", abstract: "Have no schedule: all machines are up. Refused while one is down.")

    @OptionGroup var change: RegistryChangeOptions

    func run() async throws { try await change.carryOut(.scheduleUpdate(nil), "no schedule") }
}

struct RegistryMaintenanceStart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Take machines of the schedule down; their agents become unreachable.")

    @Argument(help: ArgumentHelp(valueName: "MACHINE")) var machines: [String]
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(
            .maintenanceStart(machines.map(MachineID.init(argument:))), "down: \(machines.joined(separator: ", "))")
    }
}

struct RegistryMaintenanceStop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "Bring machines back that are down; they leave the schedule.")

    @Argument(help: ArgumentHelp(valueName: "MACHINE")) var machines: [String]
    @OptionGroup var change: RegistryChangeOptions

    func run() async throws {
        try await change.carryOut(
            .maintenanceStop(machines.map(MachineID.init(argument:))), "up: \(machines.joined(separator: ", "))")
    }
}

extension MachineID {
    /// `HOSTNAME/IP`, or one of them: `HOSTNAME`, `/IP`.
    init(argument: String) {
        let parts = argument.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        func part(_ number: Int) -> [UInt8]? {
            parts.indices.contains(number) && !parts[number].isEmpty ? Array(parts[number].utf8) : nil
        }
        self.init(hostname: part(0), ip: part(1))
    }

    /// As `init(argument:)` reads it.
    var argument: String { (hostname?.shown ?? "") + (ip.map { "/\($0.shown)" } ?? "") }
}

/// Mesos' JSON of a maintenance schedule. A member that is not known is an error.
struct ScheduleFile: Decodable {
    private var windows: [MaintenanceWindow]

    static func parse(_ bytes: [UInt8], name: String) throws -> [MaintenanceWindow] {
        do {
            return try JSONDecoder().decode(ScheduleFile.self, from: Data(bytes)).windows
        } catch let error as DecodingError {
            throw CommandError.usage("\(name): \(describe(error))")
        }
    }

    init(from decoder: any Decoder) throws {
        let object = try ObjectReader(decoder, allowed: ["windows"])
        windows = try object.optional([Window].self, "windows")?.map(\.value) ?? []
    }

    private struct Window: Decodable {
        var value: MaintenanceWindow

        init(from decoder: any Decoder) throws {
            let object = try ObjectReader(decoder, allowed: ["machine_ids", "unavailability"])
            value = MaintenanceWindow(
                machines: try object.optional([Machine].self, "machine_ids")?.map(\.value) ?? [],
                unavailability: try object.required(Period.self, "unavailability").value)
        }
    }

    private struct Machine: Decodable {
        var value: MachineID

        init(from decoder: any Decoder) throws {
            let object = try ObjectReader(decoder, allowed: ["hostname", "ip"])
            value = MachineID(
                hostname: try object.optional(String.self, "hostname").map { Array($0.utf8) },
                ip: try object.optional(String.self, "ip").map { Array($0.utf8) })
        }
    }

    private struct Period: Decodable {
        var value: Unavailability

        init(from decoder: any Decoder) throws {
            let object = try ObjectReader(decoder, allowed: ["start", "duration"])
            value = Unavailability(
                start: try object.required(Time.self, "start").nanoseconds,
                duration: try object.optional(Time.self, "duration")?.nanoseconds)
        }
    }

    private struct Time: Decodable {
        var nanoseconds: Int64

        init(from decoder: any Decoder) throws {
            let object = try ObjectReader(decoder, allowed: ["nanoseconds"])
            nanoseconds = try object.required(Whole.self, "nanoseconds").number
        }
    }

    /// A number, or its digits as text: the form that protobuf gives 64-bit numbers.
    private struct Whole: Decodable {
        var number: Int64

        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let number = try? value.decode(Int64.self) {
                self.number = number
            } else if let number = (try? value.decode(String.self)).flatMap({ Int64($0) }) {
                self.number = number
            } else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: "should be a whole number"))
            }
        }
    }
}

// MARK: - What is shown

extension RegistryBook {
    func maintenanceLines() -> [String] {
        guard registry.windowCount != nil else { return ["no schedule"] }
        guard !windows.isEmpty else { return ["a schedule without windows"] }
        let rows = windows.enumerated().flatMap { number, window -> [[String]] in
            window.machines.map { machine in
                [
                    "\(number + 1)", machine.argument, mode(of: machine), Self.start(window.unavailability),
                    window.unavailability.duration.map { "\(Double($0) / 1_000_000_000) s" } ?? "for ever",
                ]
            }
        }
        return StatusReport.table([["WINDOW", "MACHINE", "MODE", "FROM", "FOR"]] + rows)
    }

    private func mode(of machine: MachineID) -> String {
        machines.first { $0.id.key == machine.key }.map { "\($0.mode)" } ?? "up"
    }

    /// A start before 1970 is legal, and has no other name.
    private static func start(_ unavailability: Unavailability) -> String {
        UInt64(exactly: unavailability.start).map { Moment.text($0) } ?? "\(unavailability.start) ns"
    }

    func maintenanceJSON() -> JSON {
        let schedule = JSON.object([
            (
                "windows",
                .array(
                    windows.map { window in
                        JSON.object([
                            ("machine_ids", .array(window.machines.map { JSON.object(Self.members(of: $0)) })),
                            ("unavailability", Self.json(window.unavailability)),
                        ])
                    })
            )
        ])
        let machines = machines.map { machine in
            JSON.object(Self.members(of: machine.id) + [("mode", JSON.string("\(machine.mode)"))])
        }
        return .object([
            ("schedule", registry.windowCount == nil ? JSON.null : schedule), ("machines", .array(machines)),
        ])
    }

    private static func members(of machine: MachineID) -> [(String, JSON)] {
        var members: [(String, JSON)] = []
        if let hostname = machine.hostname { members.append(("hostname", hostname.json)) }
        if let ip = machine.ip { members.append(("ip", ip.json)) }
        return members
    }

    private static func json(_ unavailability: Unavailability) -> JSON {
        func time(_ nanoseconds: Int64) -> JSON {
            let number = UInt64(exactly: nanoseconds).map { JSON.number($0) } ?? .string("\(nanoseconds)")
            return .object([("nanoseconds", number)])
        }
        var members: [(String, JSON)] = [("start", time(unavailability.start))]
        if let duration = unavailability.duration { members.append(("duration", time(duration))) }
        return .object(members)
    }
}
