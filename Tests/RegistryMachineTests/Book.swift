import RegistryMachine
import RegistryModel

/// Claims as a test writes them.
enum Claims {
    private static func disk(_ amount: Double, _ source: ResourceClaim.SourceClaim?) -> ResourceClaim {
        ResourceClaim(
            name: Array("disk".utf8), type: .scalar, scalar: amount,
            disk: source.map { ResourceClaim.DiskClaim(source: $0) })
    }

    private static func amount(_ name: String, _ amount: Double) -> ResourceClaim {
        ResourceClaim(name: Array(name.utf8), type: .scalar, scalar: amount)
    }

    static func cpus(_ cpus: Double) -> ResourceClaim { amount("cpus", cpus) }
    static func mem(_ mem: Double) -> ResourceClaim { amount("mem", mem) }
    static func root(_ size: Double) -> ResourceClaim { disk(size, nil) }
    static func path(_ size: Double) -> ResourceClaim {
        disk(size, .init(kind: .path, path: .init(Array("/data".utf8))))
    }
    static func mount(_ size: Double) -> ResourceClaim {
        disk(size, .init(kind: .mount, mount: .init(Array("/mnt/ssd".utf8))))
    }

    /// That many, of which no two touch.
    static func ports(_ count: UInt64, named name: String = "ports") -> ResourceClaim {
        ResourceClaim(
            name: Array(name.utf8), type: .ranges, ranges: (0..<count).map { (begin: 2 * $0 + 1, end: 2 * $0 + 1) })
    }

    static func ports(through last: UInt64, named name: String = "ports") -> ResourceClaim {
        ResourceClaim(name: Array(name.utf8), type: .ranges, ranges: [(begin: 0, end: last)])
    }

    static func framework(_ roles: [String]) -> ActingParty {
        let roles = roles.map { role in
            guard let name = try? RoleName(Array(role.utf8)) else { fatalError("role \(role)") }
            return name
        }
        return ActingParty(framework: .init(roles: roles, takesSharedResources: false))
    }
}

extension ResourceClaim {
    func reserved(_ role: String, _ kind: Reservation.Kind = .dynamic, principal: String? = "p") -> ResourceClaim {
        var claim = self
        claim.reservations.append(
            ReservationClaim(kind: kind, role: Array(role.utf8), principal: principal.map { Array($0.utf8) }))
        return claim
    }

    func volume(_ id: String) -> ResourceClaim {
        var claim = self
        claim.disk = disk ?? DiskClaim()
        claim.disk?.persistence = PersistenceClaim(id: Array(id.utf8), principal: Array("p".utf8))
        claim.disk?.volume = VolumeMount(containerPath: Array(id.utf8))
        return claim
    }

    func allocated(_ role: String) -> ResourceClaim {
        var claim = self
        claim.allocationRole = Array(role.utf8)
        return claim
    }
}

/// The ledger of the worked example's agent, and what is done to it.
struct Book {
    var ledger = Ledger()
    static let everything: AgentCapabilities = [
        .hierarchicalRole, .reservationRefinement, .resizeVolume, .agentDraining,
    ]

    init() {
        for claim in [
            Claims.cpus(8), Claims.mem(16_384), Claims.root(10_240), Claims.path(200_000), Claims.mount(500_000),
        ] {
            guard let resource = try? claim.checked(), (try? ledger.add(resource)) != nil else {
                fatalError("\(claim)")
            }
        }
    }

    /// As people read it, in alphabetical order.
    var said: [String] { ledger.entries.map(\.resource.description).sorted() }

    private func after(_ kind: OperationKind, by actor: ActingParty) throws(RegistryRefusal) -> Ledger {
        let conversion = try Conversion(
            try CheckedOperation(kind), by: actor, capabilities: Self.everything, ledger: ledger)
        return try ledger.replacing(conversion.consumed, by: conversion.converted)
    }

    mutating func apply(_ kind: OperationKind, by actor: ActingParty = ActingParty()) throws {
        ledger = try after(kind, by: actor)
    }

    /// The rule that refuses it; nil: it would be done.
    func rule(_ kind: OperationKind, by actor: ActingParty = ActingParty()) -> RegistryRule? {
        do throws(RegistryRefusal) {
            _ = try after(kind, by: actor)
            return nil
        } catch {
            return error.rule
        }
    }

    mutating func hold(_ claims: [ResourceClaim]) throws {
        let resources = try claims.map { try $0.checked() }
        try ledger.checkHold(of: resources)
        let number = UInt8(ledger.holds.count)
        ledger.holds.append(
            Ledger.Hold(
                frameworkID: try RegistryID(Array("f1".utf8), "framework"), id: [number], role: .any,
                resources: resources))
    }
}
