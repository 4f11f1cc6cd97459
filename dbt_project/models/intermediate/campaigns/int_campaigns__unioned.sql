{{ config(materialized='view') }}

{{ union_by_name([
    ref('stg_events__campaigns'),
    ref('stg_hubspot__campaigns'),
    ref('stg_marketo__programs'),
    ref('stg_salesforce__campaigns'),
    ref('stg_ad_spend__campaigns'),
]) }}
