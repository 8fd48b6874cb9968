// The connection's features: those of the transport are the connection itself, the rest lies in a short list.
using System.Collections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace MegaPipe.Kestrel.Internal.Connections;

/// <summary>
/// A feature collection without a dictionary: a connection carries about ten features, of which a plain one gets four
/// from Kestrel, and most are looked up once. Replaced or removed features of the transport are remembered like any
/// other.
/// </summary>
internal sealed class ConnectionFeatures(MegaPipeConnection connection) : IFeatureCollection
{
    private static readonly Type[] s_own =
    [
        typeof(IConnectionIdFeature), typeof(IConnectionTransportFeature), typeof(IConnectionItemsFeature),
        typeof(IConnectionLifetimeFeature), typeof(IConnectionEndPointFeature), typeof(IMemoryPoolFeature),
        typeof(IConnectionSocketFeature),
    ];

    private KeyValuePair<Type, object?>[] _set = [];
    private int _count;

    public bool IsReadOnly => false;

    public int Revision { get; private set; }

    public object? this[Type key]
    {
        get
        {
            ArgumentNullException.ThrowIfNull(key);
            for (int i = 0; i < _count; i++)
            {
                if (_set[i].Key == key)
                {
                    return _set[i].Value;
                }
            }

            return Array.IndexOf(s_own, key) >= 0 ? connection : null;
        }

        set
        {
            ArgumentNullException.ThrowIfNull(key);
            Revision++;
            for (int i = 0; i < _count; i++)
            {
                if (_set[i].Key == key)
                {
                    _set[i] = new(key, value);
                    return;
                }
            }

            if (_count == _set.Length)
            {
                Array.Resize(ref _set, Math.Max(4, _count * 2));
            }

            _set[_count++] = new(key, value);
        }
    }

    public TFeature? Get<TFeature>() => this[typeof(TFeature)] is { } feature ? (TFeature)feature : default;

    public void Set<TFeature>(TFeature? instance) => this[typeof(TFeature)] = instance;

    public IEnumerator<KeyValuePair<Type, object>> GetEnumerator()
    {
        for (int i = 0; i < _count; i++)
        {
            if (_set[i].Value is { } value)
            {
                yield return new(_set[i].Key, value);
            }
        }

        foreach (Type own in s_own)
        {
            if (!Array.Exists(_set, entry => entry.Key == own))
            {
                yield return new(own, connection);
            }
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
