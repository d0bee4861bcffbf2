import Glibc

/// OpenSSL 3 (or 1.1), found when the first https address is met: the program needs no TLS library to be built or to start.
struct TLSLibrary: Sendable {
    typealias Pointer = UnsafeMutableRawPointer
    typealias Text = UnsafePointer<CChar>
    typealias Make = @convention(c) @Sendable (Pointer?) -> Pointer?
    typealias Run = @convention(c) @Sendable (Pointer?) -> Int32
    typealias Free = @convention(c) @Sendable (Pointer?) -> Void
    typealias SetText = @convention(c) @Sendable (Pointer?, Text?) -> Int32
    typealias Transfer = @convention(c) @Sendable (Pointer?, Pointer?, Int32) -> Int32

    let clientMethod: @convention(c) @Sendable () -> Pointer?
    let newContext: Make
    let freeContext: Free
    let defaultPaths: Run
    let loadLocations: @convention(c) @Sendable (Pointer?, Text?, Text?) -> Int32
    let setVerify: @convention(c) @Sendable (Pointer?, Int32, Pointer?) -> Void
    let contextControl: @convention(c) @Sendable (Pointer?, Int32, Int, Pointer?) -> Int
    let newConnection: Make
    let freeConnection: Free
    let setDescriptor: @convention(c) @Sendable (Pointer?, Int32) -> Int32
    let setHost: SetText
    let parameters: Make
    let control: @convention(c) @Sendable (Pointer?, Int32, Int, Pointer?) -> Int
    let connect: Run
    let read: Transfer
    let write: Transfer
    let error: @convention(c) @Sendable (Pointer?, Int32) -> Int32
    let verifyResult: @convention(c) @Sendable (Pointer?) -> Int
    let shutdown: Run
    let setAddress: SetText
    let verifyText: @convention(c) @Sendable (Int) -> Text?
    let takeError: @convention(c) @Sendable () -> UInt
    let errorText: @convention(c) @Sendable (UInt, UnsafeMutablePointer<CChar>?, Int) -> Void

    struct Missing: Error { var reason: String }

    /// Opened once; what was found stays.
    static let shared = Result { () throws(Missing) in try TLSLibrary() }

    init() throws(Missing) {
        let names = [("libssl.so.3", "libcrypto.so.3"), ("libssl.so.1.1", "libcrypto.so.1.1")]
        var found: (ssl: Pointer, crypto: Pointer)?
        for (ssl, crypto) in names where found == nil {
            if let crypto = dlopen(crypto, RTLD_NOW | RTLD_GLOBAL), let ssl = dlopen(ssl, RTLD_NOW) { found = (ssl, crypto) }
        }
        guard let found else {
            throw Missing(reason: "https needs OpenSSL, and neither libssl.so.3 nor libssl.so.1.1 is on this machine; install it (Debian: libssl3)")
        }
        func symbol<Function>(_ name: String, in library: Pointer, as: Function.Type) throws(Missing) -> Function {
            guard let address = dlsym(library, name) else { throw Missing(reason: "this machine's OpenSSL has no function \(name)") }
            return unsafeBitCast(address, to: Function.self)
        }
        func ssl<Function>(_ name: String) throws(Missing) -> Function { try symbol(name, in: found.ssl, as: Function.self) }
        func crypto<Function>(_ name: String) throws(Missing) -> Function { try symbol(name, in: found.crypto, as: Function.self) }
        clientMethod = try ssl("TLS_client_method")
        newContext = try ssl("SSL_CTX_new")
        freeContext = try ssl("SSL_CTX_free")
        defaultPaths = try ssl("SSL_CTX_set_default_verify_paths")
        loadLocations = try ssl("SSL_CTX_load_verify_locations")
        setVerify = try ssl("SSL_CTX_set_verify")
        contextControl = try ssl("SSL_CTX_ctrl")
        newConnection = try ssl("SSL_new")
        freeConnection = try ssl("SSL_free")
        setDescriptor = try ssl("SSL_set_fd")
        setHost = try ssl("SSL_set1_host")
        parameters = try ssl("SSL_get0_param")
        control = try ssl("SSL_ctrl")
        connect = try ssl("SSL_connect")
        read = try ssl("SSL_read")
        write = try ssl("SSL_write")
        error = try ssl("SSL_get_error")
        verifyResult = try ssl("SSL_get_verify_result")
        shutdown = try ssl("SSL_shutdown")
        setAddress = try crypto("X509_VERIFY_PARAM_set1_ip_asc")
        verifyText = try crypto("X509_verify_cert_error_string")
        takeError = try crypto("ERR_get_error")
        errorText = try crypto("ERR_error_string_n")
    }

    /// The oldest message in OpenSSL's queue of this thread, which is emptied.
    func message() -> String {
        var text = ""
        while case let code = takeError(), code != 0 {
            guard text.isEmpty else { continue }
            var buffer = [CChar](repeating: 0, count: 256)
            errorText(code, &buffer, buffer.count)
            text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        return text.isEmpty ? "the connection ended" : text
    }
}
