// What a connection does at the moment, for whoever asks why a thread does not come back.
using System.Diagnostics.CodeAnalysis;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    /// <summary>
    /// The watcher asks while the connection's thread is in application code, which may change what is read here at any
    /// moment. Only references are read; whatever that throws, the answer is the endpoint.
    /// </summary>
    [SuppressMessage("Design", "CA1031", Justification = "See above.")]
    WorkDescription? IDescribedWork.Describe()
    {
        string protocol = _endpoint.EndPoint is UnixDomainSocketEndPoint ? "unix" : "tcp";
        try
        {
            if (_cost.Request?.Describe() is { } request)
            {
                return request;
            }

            if (_features.Get<ITlsHandshakeFeature>() is not null)
            {
                protocol = "tls";
            }
        }
        catch (Exception)
        {
        }

        return new WorkDescription(protocol, null, null, $"connection on {_endpoint.EndPoint}");
    }
}
