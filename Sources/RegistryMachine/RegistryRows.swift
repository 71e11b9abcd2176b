/// The rows of the registry, as a command finds them. The first byte of a key is its table's.
package protocol RegistryRows {
    func row(at key: [UInt8]) throws -> [UInt8]?
    /// Those whose keys begin with `prefix`, in the order of their keys, until `body` says no.
    func scan(_ prefix: [UInt8], _ body: (_ key: [UInt8], _ value: [UInt8]) throws -> Bool) throws
    /// Nil deletes.
    func set(_ key: [UInt8], to value: [UInt8]?) throws
}
